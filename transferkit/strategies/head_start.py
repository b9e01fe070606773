"""The initial head of finetuning: a linear probe on the pretrained features, or random weights."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import nn

from transferkit.arrays import Features, Labels
from transferkit.backbones.backbone import Backbone
from transferkit.folds import Ints, cross_validates, make_folds
from transferkit.probes.linear import LinearProbe
from transferkit.strategies.context import Context
from transferkit.strategies.frozen_features import extract_train_val
from transferkit.strategies.linear_probe import create_probe, probe_head, probe_path

log = logging.getLogger(__name__)

HEAD_CS = tuple(np.logspace(-6, 1, 22))
"""Values of C for the initial head. The loss on held-out images chooses, not their accuracy: weights that are too large
magnify every change of the stages below, with too small ones these must change much, and in both cases the training
images are learnt by heart. Of many values with the same accuracy the calibrated head is in between."""

UNCHOSEN = 0.01
"""C where nothing can be held out."""


@dataclass(frozen=True)
class HeadStart:
    """The head before the first phase.

    Attributes:
        head: The fitted layer; None for random weights.
        stages: The probe's results by stage, as in `Fitted`.
        sweep: One row per value of C by stage, as in `Fitted`.
        feature_norm: Mean L1 norm of the features; None if they were not computed.
    """

    head: nn.Linear | None = None
    stages: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sweep: Mapping[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)
    feature_norm: float | None = None


def probed_head(context: Context, backbone: Backbone) -> HeadStart:
    """The linear probe on frozen features of the top stage, fitted on train; C is selected on val, or folds of train.

    Args:
        context: Its settings say which (`selection`).
        backbone: The network at the start.
    """
    data, stage = context.data, backbone.top
    train, val = (split[stage] for split in extract_train_val(replace(context, backbone=backbone), [stage], "auto"))
    labels, by_folds = data.train.labels, cross_validates(context.settings["selection"], len(data.val))
    with context.timer.step("fit"):
        if by_folds:
            groups = data.fit_contents()[: len(labels)]
            path = cross_validated_path(train, labels, groups, context.seed)
        else:
            path = probe_path(create_probe({"Cs": HEAD_CS}, context.seed).fit(train, labels, val, data.val.labels))
        best = min(path, key=lambda row: row["val_nll"], default={"C": UNCHOSEN})
        probe = LinearProbe(C=best["C"]).fit(train, labels)
    log.info(
        "Head: linear probe of %s, C = %.3g, %s top-1 %.1f %%.",
        *(stage, best["C"], "out-of-fold" if by_folds else "val", 100 * best.get("val_top1", np.nan)),
    )
    figures = {stage: {**best, "features": probe.n_features_in_}}
    return HeadStart(probe_head(probe, len(data.class_names)), figures, {stage: path}, l1_norm(train))


def random_head(context: Context, backbone: Backbone) -> HeadStart:
    """No head; of a pretrained network the norm of the features that one will get."""
    stage = backbone.top
    with context.timer.step("extract"):
        rows = context.extract(backbone, context.data.train, [stage])[stage] if backbone.as_loaded(stage) else None
    return HeadStart(feature_norm=None if rows is None else l1_norm(rows))


def l1_norm(features: Features) -> float:
    """Mean L1 norm of features (N, D)."""
    return float(np.abs(features).sum(axis=1, dtype=np.float64).mean())


def cross_validated_path(features: Features, labels: Labels, groups: Ints, seed: int) -> list[dict[str, float]]:
    """One row per value of C: top-1 and loss over all images, each from the fold that held it out.

    Args:
        features: (N, D).
        labels: (N,).
        groups: (N,) images with the same number are never parted.
        seed: Of the folds.

    Returns:
        Empty where nothing can be held out.
    """
    sums = np.zeros((len(HEAD_CS), 2))
    folds = make_folds(labels, groups, seed=seed)
    for rows, held in folds:
        probe = LinearProbe(Cs=HEAD_CS, refit=False)
        probe.fit(features[rows], labels[rows], features[held], labels[held])
        sums += len(held) * np.array([[row["val_top1"], row["val_nll"]] for row in probe.path_])
    means = sums / max(sum(len(held) for _, held in folds), 1)
    rows_by_C = zip(HEAD_CS, means.tolist(), strict=True) if folds else ()
    return [{"C": float(C), "val_top1": top1, "val_nll": nll} for C, (top1, nll) in rows_by_C]
