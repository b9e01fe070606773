"""Linear probe: features of a frozen stage, computed once, and multinomial logistic regression on them."""

import logging

import numpy as np
import torch
from torch import nn

from transferkit.backbones.backbone import Backbone
from transferkit.errors import TransferkitError
from transferkit.model import TransferModel
from transferkit.probe import LinearProbe
from transferkit.stage import match_stages
from transferkit.strategies.context import Context
from transferkit.strategies.fitted import Fitted

log = logging.getLogger(__name__)


def fit_linear_probe(context: Context) -> Fitted:
    """Fit the head on the features of one stage, with C chosen on val, and refit on train and val."""
    backbone, data, settings = context.backbone, context.data, context.strategy["probe"]
    stage = probe_stage(backbone, settings["stages"])
    with context.timer.step("extract"):
        train, val = (context.extract(backbone, images, [stage])[stage] for images in (data.train, data.val))
    with context.timer.step("fit"):
        Cs = settings["Cs"]
        probe = LinearProbe(Cs=Cs if isinstance(Cs, int) else tuple(Cs), random_state=context.seed)
        probe.fit(train, data.train.labels, val, data.val.labels)
        head = probe_head(probe, len(data.class_names))
    model = TransferModel(backbone.truncate(stage), head, data.class_names).eval()
    sweep = [{key: float(value) for key, value in row.items()} for row in probe.path_]
    best = next(row for row in sweep if row["C"] == probe.C_)
    log.info("Chosen on val: C = %.3g, top-1 %.1f %%.", probe.C_, 100 * best["val_top1"])
    return Fitted(
        model=model,
        val=np.asarray(probe.val_probabilities_, dtype=np.float32),
        trainable_parameters=sum(p.numel() for p in head.parameters()),
        stages={stage: {**best, "features": int(train.shape[1])}},
        sweep={stage: sweep},
    )


def probe_stage(backbone: Backbone, patterns: list[str]) -> str:
    """Return the one stage that `strategy.probe.stages` names; `top` is the last before the head."""
    names = [backbone.top if pattern == "top" else pattern for pattern in patterns]
    stages = match_stages(names, backbone.feature_stages)
    if len(stages) != 1:
        raise TransferkitError(
            f"strategy.probe.stages={patterns} names {len(stages)} stages ({', '.join(stages)}); "
            "a linear probe takes one."
        )
    return stages[0]


def probe_head(probe: LinearProbe, num_classes: int) -> nn.Linear:
    """Return the linear layer that gives the probe's logits on raw features."""
    weight = torch.from_numpy(np.asarray(probe.coef_, dtype=np.float32))
    head = nn.Linear(weight.shape[1], num_classes)
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(torch.from_numpy(np.asarray(probe.intercept_, dtype=np.float32)))
    return head
