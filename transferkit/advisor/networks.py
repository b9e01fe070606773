"""Comparison of several networks on a data set, before one of them is used: from one decoding of the images."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from transferkit.advisor.measure import sample
from transferkit.advisor.network_costs import NetworkCost, measure_costs
from transferkit.advisor.network_prior import published_top1
from transferkit.advisor.network_scores import NetworkScore, ranked, score_features
from transferkit.arrays import Features, Labels
from transferkit.backbones.backbone import Backbone
from transferkit.backbones.create import create_backbone_from_config
from transferkit.config.compose import load_backbone_settings
from transferkit.data.imagedata import ImageData
from transferkit.errors import TransferkitError, WeightsUnavailable
from transferkit.features.extract import Extractor
from transferkit.features.from_settings import create_extractor
from transferkit.features.one_decoding import Wanted, extract_together
from transferkit.folds import Chooser, Fold, find_chooser

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Comparison:
    """Networks measured on the same images.

    Attributes:
        scores: The best first.
        left_out: Name to the reason, of the networks whose weights cannot be had.
        images: Number of images of train and val that were used.
        chooser: The folds that they were measured on.
    """

    scores: Sequence[NetworkScore]
    left_out: Mapping[str, str]
    images: int
    chooser: Chooser


def load_networks(names: Sequence[str]) -> tuple[dict[str, Backbone], dict[str, str]]:
    """Create the networks; those whose weights cannot be had are left out.

    Args:
        names: Choices of the group `backbone`, or names of torchvision's or timm's networks.

    Returns:
        The networks by name, and the reason for each that was left out.

    Raises:
        TransferkitError: A name is unknown or a network cannot be created, with a line for each; or the weights of none
            can be had.
    """
    backbones: dict[str, Backbone] = {}
    left_out: dict[str, str] = {}
    wrong = []
    for name in names:
        try:
            backbones[name] = create_backbone_from_config(load_backbone_settings(name))
        except WeightsUnavailable as error:
            # Up to the advice for a run with this network alone.
            left_out[name] = str(error).partition(" Without a network:")[0].removeprefix("backbone.weights: ")
            log.warning("Left out: %s: %s", name, left_out[name])
        except TransferkitError as error:
            wrong.append(f"backbones: {name}: {error}")
    if wrong:
        raise TransferkitError("\n".join(wrong))
    if not backbones:
        reasons = "".join(f"\n  {name}: {reason}" for name, reason in left_out.items())
        raise WeightsUnavailable(
            f"backbones: the weights of none of these networks can be had.{reasons}\nThis one works without a network, "
            "since its ImageNet weights were installed with transferkit: backbones=[efficientnet_lite0]; for small "
            "drawings also resnet_glyphs and resnet_fractals."
        )
    return backbones, left_out


def compare_networks(
    data: ImageData,
    backbones: Mapping[str, Backbone],
    left_out: Mapping[str, str],
    settings: Mapping[str, Any],
    most: int,
) -> Comparison:
    """Measure the networks on train and val; no test image is used.

    Args:
        data: The splits.
        backbones: By name; they are not changed.
        left_out: As `load_networks` returns it.
        settings: The resolved configuration: `seed`, `selection`, `trainer`, `cache`.
        most: Maximum number of train images, and of val images, that are measured.
    """
    part = sample(data, most, int(settings["seed"]))
    labels = part.fit_labels()
    chooser = find_chooser(
        settings["selection"], part.train.labels, part.val.labels, part.fit_contents(), int(settings["seed"])
    )
    extractor = create_extractor(settings)
    costs = measure_costs(backbones, part.train, extractor)
    features = _extract(backbones, part, extractor)
    scores = []
    for name, backbone in backbones.items():
        scores.append(_score(name, backbone, features.pop(name), labels, chooser.folds, costs[name]))
        log.info("%s: top-1 %.1f %%.", name, 100 * scores[-1].best.top1)
    return Comparison(ranked(scores), left_out, len(labels), chooser)


def _extract(
    backbones: Mapping[str, Backbone], part: ImageData, extractor: Extractor
) -> dict[str, dict[str, Features]]:
    """The features (N, D) of train and val together, by network and stage.

    The source classifier's outputs are extracted, too, since the advice that follows uses them.
    """
    wanted = {
        name: Wanted(backbone, backbone.stage_names if backbone.weights_name != "random" else backbone.feature_stages)
        for name, backbone in backbones.items()
    }
    train, val = (extract_together(extractor, wanted, images) for images in (part.train, part.val))
    return {
        name: {stage: np.concatenate([train[name][stage], val[name][stage]]) for stage in backbone.feature_stages}
        for name, backbone in backbones.items()
    }


def _score(
    name: str,
    backbone: Backbone,
    features: Mapping[str, Features],
    labels: Labels,
    folds: Sequence[Fold],
    cost: NetworkCost,
) -> NetworkScore:
    probes, neighbors = score_features(features, labels, folds)
    random = backbone.weights_name == "random"
    return NetworkScore(name, backbone.weights_name, probes, neighbors, cost, published_top1(backbone), random)
