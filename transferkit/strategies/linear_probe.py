"""The parts of a linear classifier on features: its settings, its results as plain rows, and its linear layer."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from transferkit.probes.chosen import Choice, path_of
from transferkit.probes.fold_scores import Grids, Score
from transferkit.probes.linear import LinearProbe, value_grid
from transferkit.probes.logistic.basis import Head

DISCRIMINANT_CS = (0.1, 1.0, 10.0)
"""Multiples of the covariance within classes, against its trace: 1 is the choice without a search."""


def make_grids(settings: Mapping[str, Any]) -> Grids:
    """Return the values of C of each classifier of the node `probe` of a strategy."""
    Cs = value_grid(settings["Cs"])
    return {name: DISCRIMINANT_CS if name == "discriminant" else Cs for name in settings["classifiers"]}


def score_row(score: Score) -> dict[str, Any]:
    """Return the results of a score, as metrics.json has them."""
    row = {"C": score.C, "val_top1": score.top1, "val_nll": score.nll, "classifier": score.classifier}
    return {**row, "balanced": True} if balance_note(score) else row


def balance_note(score: Score) -> str:
    """Return a note for the log where the stages were scaled to the same total variance."""
    return ", stages balanced" if score.scaler is not None and score.scaler.balance else ""


def at_the_edge(choice: Choice) -> bool:
    """Return whether a chosen C is the smallest or largest of several that were tried."""
    Cs = [score.C for score in path_of(choice)]
    return len(Cs) > 1 and choice.score.classifier != "discriminant" and choice.score.C in (Cs[0], Cs[-1])


def linear_head(head: Head, num_classes: int) -> nn.Linear:
    """Return the linear layer with these weights (K, D) and biases (K,)."""
    weight, bias = (torch.from_numpy(np.asarray(part, dtype=np.float32)) for part in head)
    layer = nn.Linear(weight.shape[1], num_classes)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


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
    return linear_head((probe.coef_, probe.intercept_), num_classes)
