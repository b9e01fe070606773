"""Bins of a reliability diagram: accuracy over confidence."""

from dataclasses import dataclass

import numpy as np

from transferkit.metrics import ECE_BINS, FloatArray, IntArray


@dataclass(frozen=True)
class Bin:
    """Images whose confidence lies in (lower, upper]; `confidence` and `accuracy` are means over its `count` images."""

    lower: float
    upper: float
    count: int
    confidence: float
    accuracy: float


def reliability_bins(probabilities: FloatArray, labels: IntArray, bins: int = ECE_BINS) -> list[Bin]:
    """Return the non-empty bins of `transferkit.metrics.ece`, lowest confidence first.

    Args:
        probabilities: (N, K).
        labels: (N,).
        bins: Of equal width over [0, 1].
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    edges = np.linspace(0, 1, bins + 1)
    index = np.digitize(confidence, edges[1:-1], right=True)
    return [
        Bin(
            lower=float(edges[i]),
            upper=float(edges[i + 1]),
            count=int((index == i).sum()),
            confidence=float(confidence[index == i].mean()),
            accuracy=float(correct[index == i].mean()),
        )
        for i in np.unique(index)
    ]
