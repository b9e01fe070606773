"""Ranking of candidates on validation images: accuracy, then loss, then the deeper stage."""

from collections.abc import Mapping
from typing import Any

_DIGITS = 9
"""Accuracies that differ by less are equal: sums over folds differ in the last bits."""


def rank(top1: float, nll: float, depth: int = 0) -> tuple[float, float, int]:
    """Return a sort key; the best candidate has the largest.

    Args:
        top1: Accuracy on validation images.
        nll: Negative log-likelihood there, in nats; lower is better at equal accuracy.
        depth: Index of the stage in the network; deeper is better if both are equal.
    """
    return round(top1, _DIGITS), -nll, depth


def row_rank(row: Mapping[str, Any]) -> tuple[float, float, int]:
    """Return `rank` of a row with `val_top1` and `val_nll`."""
    return rank(row["val_top1"], row["val_nll"])


def best_stage(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the stage that ranks first.

    Args:
        rows: Results by stage, `val_top1` and `val_nll`, from the first stage to the deepest.
    """
    depths = {stage: depth for depth, stage in enumerate(rows)}
    return max(rows, key=lambda stage: rank(rows[stage]["val_top1"], rows[stage]["val_nll"], depths[stage]))


def score(top1: float, nll: float, n: int) -> float:
    """Return accuracy and loss as one number with the same order, as Lightning's callbacks need it.

    Args:
        top1: Accuracy on `n` images, so that different ones differ by 1/n at least.
        nll: Negative log-likelihood in nats.
        n: Number of images.
    """
    return top1 + 0.5 / n / (1 + max(nll, 0.0))
