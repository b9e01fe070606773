"""Common parts of the strategies on frozen features: their stages, and that images are not augmented."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from transferkit.arrays import Features
from transferkit.backbones.backbone import Backbone
from transferkit.choices import TOP
from transferkit.config.augment_use import used_augment
from transferkit.errors import TransferkitError
from transferkit.folds import Chooser, cross_validates, find_chooser
from transferkit.strategies.context import Context

log = logging.getLogger(__name__)


def named_stages(backbone: Backbone, patterns: Sequence[str], key: str) -> list[str]:
    """Return the feature stages that match `patterns`, in order; `top` is the last stage.

    Args:
        backbone: The network.
        patterns: Names, `top`, or shell patterns; `fc*` may match none as long as another one does. Of a transformer
            also `last4`, the outputs of the last four blocks side by side.
        key: The configuration key, for messages.

    Raises:
        TransferkitError: A name is unknown, or nothing matches.
    """
    names = [backbone.top if pattern == TOP else pattern for pattern in patterns]
    stages = backbone.match(names, key, head=False)
    if not stages:
        raise TransferkitError(
            f"{key}: {', '.join(patterns)} matches no stage; there are {', '.join(backbone.feature_stages)}."
        )
    return stages


def probe_stages(backbone: Backbone, strategy: Mapping[str, Any]) -> list[str]:
    """Return the stages of `strategy.probe.stages`.

    Raises:
        TransferkitError: A stage is unknown, or there are several for a strategy on one stage.
    """
    patterns = strategy["probe"]["stages"]
    stages = named_stages(backbone, patterns, "strategy.probe.stages")
    if len(stages) > 1 and "combine" not in strategy:
        raise TransferkitError(
            f"strategy.probe.stages={patterns} names {len(stages)} stages ({', '.join(stages)}); "
            f"strategy={strategy['name']} takes one: use strategy=stage_probe for several."
        )
    return stages


def chosen_pool(backbone: Backbone, strategy: Mapping[str, Any]) -> str:
    """Return `strategy.pool`, "auto" resolved as far as it is the same at all stages; the log says what it is.

    Raises:
        TransferkitError: There is no such pooling.
    """
    given = strategy.get("pool", "auto")
    pool = backbone.pool_name(given)
    top = backbone.infos[backbone.top].pool
    if given == "auto" and top != "avg":
        log.info("Pooling: %s, as the classifier of %s has it; strategy.pool= changes it.", top, backbone.spec.name)
    return pool


def refuse_augment(settings: Mapping[str, Any], way_out: str) -> None:
    """Raise a `TransferkitError` if an augmentation is configured that applies to heads, too.

    Features that are computed once cannot have it. The default one applies to stages only (`augment.heads=false`).
    """
    augment = used_augment(settings.get("augment", {}), trains_stage=False)
    changes = [name for name, given in augment.get("transforms", {}).items() if given is not None]
    if changes:
        raise TransferkitError(
            f"augment={augment.get('name')} changes the training images at random ({', '.join(changes)}), but "
            f"strategy={settings['strategy']['name']} computes the features of each image once: {way_out}."
        )


def find_choosing_folds(context: Context) -> Chooser:
    """Return the folds on which stage, C and so on are chosen: val, or cross-validation of train and val."""
    data, selection = context.data, context.settings["selection"]
    groups = data.fit_contents() if cross_validates(selection, len(data.val)) else None
    strata, train = data.fit_strata(), len(data.train)
    return find_chooser(selection, strata[:train], strata[train:], groups, context.seed)


def extract_train_val(
    context: Context, stages: list[str], pool: str
) -> tuple[Mapping[str, Features], Mapping[str, Features]]:
    """Return the features (N, D) of each stage for train and for val, from one pass over the images."""
    with context.timer.step("extract"):
        data = context.data
        train, val = (context.extract(context.backbone, images, stages, pool) for images in (data.train, data.val))
    return train, val
