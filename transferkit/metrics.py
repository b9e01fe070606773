"""Metrics of predicted class probabilities; every value is a fraction in [0, 1], except `nll` (nats)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

ECE_BINS = 15
SMALLEST = 1e-12
"""Probabilities below it count as this, where their logarithm is needed."""

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.integer]


def compute_metrics(probabilities: FloatArray, labels: IntArray) -> dict[str, float | int]:
    """All metrics of one split.

    Args:
        probabilities: (N, K), rows summing to 1.
        labels: (N,), indices of the true classes, 0 to K - 1.

    Returns:
        `top1`, `top5`, `balanced_accuracy`, `nll`, `ece` and `n`, the number of rows, as plain numbers.

    Raises:
        ValueError: No rows, shapes that do not fit together, labels outside 0 to K - 1, probabilities that are not
            finite.
    """
    probabilities, labels = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    _check(probabilities, labels)
    return {
        "top1": top_k(probabilities, labels, 1),
        "top5": top_k(probabilities, labels, 5),
        "balanced_accuracy": balanced_accuracy(probabilities, labels),
        "nll": nll(probabilities, labels),
        "ece": ece(probabilities, labels),
        "n": len(labels),
    }


def top_k(probabilities: FloatArray, labels: IntArray, k: int) -> float:
    """Share of rows whose true class is among the min(k, K) most probable; ties go to the first class."""
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return float((best == labels[:, None]).any(axis=1).mean())


def balanced_accuracy(probabilities: FloatArray, labels: IntArray) -> float:
    """Mean recall over the classes that occur in `labels`."""
    correct = probabilities.argmax(axis=1) == labels
    return float(np.mean([correct[labels == label].mean() for label in np.unique(labels)]))


def nll(probabilities: FloatArray, labels: IntArray) -> float:
    """Mean negative log-likelihood of the true class in nats; 0 counts as the smallest normal float64."""
    true = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(true, np.finfo(np.float64).tiny)).mean())


def ece(probabilities: FloatArray, labels: IntArray, bins: int = ECE_BINS) -> float:
    """Expected calibration error: mean gap between confidence and accuracy over equal-width bins (lower, upper].

    Source: Guo et al. 2017, On Calibration of Modern Neural Networks, section 2, eq. 3.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    index = np.digitize(confidence, np.linspace(0, 1, bins + 1)[1:-1], right=True)
    # |sum(correct) - sum(confidence)| of a bin is its size times its gap, so no bin can divide by zero.
    gaps = np.bincount(index, weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def _check(probabilities: FloatArray, labels: IntArray) -> None:
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1] or len(labels) == 0:
        raise ValueError(
            f"probabilities must be (N, K) and labels (N,) with N > 0; got {probabilities.shape} and {labels.shape}"
        )
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() >= probabilities.shape[1]:
        raise ValueError(f"labels must be class indices from 0 to {probabilities.shape[1] - 1}")
    if not np.isfinite(probabilities).all():
        raise ValueError("probabilities must be finite")


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the bounds, in [0, 1], of the score interval of a binomial share; sound for few images too.

    Source: Wilson 1927, Probable Inference, the Law of Succession, and Statistical Inference; computed by scipy.

    Args:
        successes: How many of the n.
        n: At least 1.
        confidence: That the interval holds the true share.
    """
    from scipy.stats import binomtest  # scipy.stats takes half a second to import

    interval = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


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


def at_temperature(probabilities: npt.NDArray[np.float32], temperature: float) -> npt.NDArray[np.float32]:
    """Probabilities (N, K) whose logits are divided by the temperature."""
    from scipy.special import softmax

    logits = np.log(np.maximum(probabilities.astype(np.float64), SMALLEST))
    return np.asarray(softmax(logits / temperature, axis=1), dtype=np.float32)
