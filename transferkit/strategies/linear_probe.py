"""A linear classifier on features: logistic regression with C selected on val, and its linear layer."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from transferkit.probes.linear import LinearProbe


def create_probe(settings: Mapping[str, Any], seed: int) -> LinearProbe:
    """Return the probe described by the node `probe` of a strategy, without a refit."""
    Cs = settings["Cs"]
    return LinearProbe(Cs=Cs if isinstance(Cs, int) else tuple(Cs), random_state=seed, refit=False)


def probe_path(probe: LinearProbe) -> list[dict[str, float]]:
    """Return one row per value of C, as plain numbers."""
    return [{key: float(value) for key, value in row.items()} for row in probe.path_]


def chosen_row(probe: LinearProbe) -> dict[str, float]:
    """Return the row of the selected C."""
    return next(row for row in probe_path(probe) if row["C"] == probe.C_)


def probe_head(probe: LinearProbe, num_classes: int) -> nn.Linear:
    """Return the linear layer with the probe's logits on raw features."""
    weight = torch.from_numpy(np.asarray(probe.coef_, dtype=np.float32))
    head = nn.Linear(weight.shape[1], num_classes)
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(torch.from_numpy(np.asarray(probe.intercept_, dtype=np.float32)))
    return head
