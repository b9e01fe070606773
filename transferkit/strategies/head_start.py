"""The initial head of finetuning: a linear probe on the pretrained features, or random weights."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import nn

from transferkit.backbones.backbone import Backbone
from transferkit.strategies.context import Context
from transferkit.strategies.frozen_features import extract_train_val
from transferkit.strategies.linear_probe import chosen_row, create_probe, probe_head, probe_path

log = logging.getLogger(__name__)

HEAD_CS = tuple(np.logspace(-6, -2, 17))
"""Values of C for the initial head. With less regularisation a head on a few hundred images has almost no training
loss, and therefore almost no gradient."""


@dataclass(frozen=True)
class HeadStart:
    """The head before the first phase.

    Attributes:
        head: The fitted layer; None for random weights.
        stages: The probe's results by stage, as in `Fitted`.
        sweep: One row per value of C by stage, as in `Fitted`.
    """

    head: nn.Linear | None = None
    stages: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sweep: Mapping[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)


def probed_head(context: Context, backbone: Backbone) -> HeadStart:
    """The linear probe on frozen features of the top stage, fitted on train with C selected on val."""
    data, stage = context.data, backbone.top
    train, val = (split[stage] for split in extract_train_val(replace(context, backbone=backbone), [stage], "auto"))
    with context.timer.step("fit"):
        probe = create_probe({"Cs": HEAD_CS}, context.seed)
        probe.fit(train, data.train.labels, val, data.val.labels)
    best = chosen_row(probe)
    log.info("Head: linear probe of %s, C = %.3g, val top-1 %.1f %%.", stage, probe.C_, 100 * best["val_top1"])
    figures = {stage: {**best, "features": probe.n_features_in_}}
    return HeadStart(probe_head(probe, len(data.class_names)), figures, {stage: probe_path(probe)})
