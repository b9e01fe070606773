"""Learning curve: probe accuracy on growing subsets of train, extrapolated with an interval."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from transferkit.arrays import Doubles, Labels
from transferkit.data.stratify import apportion, take
from transferkit.probes.linear import LinearProbe

FRACTIONS = (1 / 8, 1 / 4, 1 / 2, 1.0)
REPEATS = 3
EXPONENTS = np.linspace(0.1, 1.5, 29)
"""Of the power law; published learning curves of classifiers lie between 0.1 and 1 (Hestness et al. 2017)."""

BOOTSTRAPS = 200
COVERAGE = 0.9
FEWEST_SIZES = 3
WIDEST_USEFUL = 0.10
"""An interval wider than ten points is reported as too wide for a prediction."""


@dataclass(frozen=True)
class Fit:
    """error(n) = floor + scale * n ** -exponent."""

    floor: float
    scale: float
    exponent: float

    def error(self, n: float | Doubles) -> Doubles:
        """Expected error with `n` training images."""
        return np.asarray(self.floor + self.scale * np.asarray(n, dtype=np.float64) ** -self.exponent)


@dataclass(frozen=True)
class Curve:
    """A measured learning curve, and its extrapolation to twice the images.

    Attributes:
        sizes: Training images of each measurement, ascending, with repeats.
        accuracy: Top-1 on val of each.
        fit: The power law, or None where there are too few sizes.
        gain: Expected change of the accuracy with twice the images.
        low: Of its 90 % interval.
        high: Of its 90 % interval.
        verdict: The result in words.
    """

    sizes: Sequence[int]
    accuracy: Sequence[float]
    fit: Fit | None
    gain: float | None
    low: float | None
    high: float | None
    verdict: str


def learning_curve(
    train: npt.NDArray[np.float32],
    labels: Labels,
    val: npt.NDArray[np.float32],
    val_labels: Labels,
    C: float,
    seed: int = 0,
    factor: float = 2.0,
) -> Curve:
    """Fit probes with one C on growing stratified subsets of train, and extrapolate to `factor` times the images.

    Args:
        train: Features (N, D).
        labels: (N,).
        val: Features (M, D).
        val_labels: (M,).
        C: Inverse regularisation strength of all probes, as chosen on val for all of train.
        seed: Of the subsets and of the bootstrap.
        factor: Multiple of the present number of images.
    """
    sizes, correct = measure_curve(train, labels, val, val_labels, C, seed)
    return extrapolate(sizes, correct, factor, seed)


def measure_curve(
    train: npt.NDArray[np.float32],
    labels: Labels,
    val: npt.NDArray[np.float32],
    val_labels: Labels,
    C: float,
    seed: int,
) -> tuple[list[int], npt.NDArray[np.bool_]]:
    """Sizes of the subsets (R,), and which val images the probe of each classified correctly (R, M)."""
    sizes: list[int] = []
    correct = []
    classes = len(np.unique(labels))
    for fraction in FRACTIONS:
        if round(fraction * len(labels)) < 2 * classes and fraction < 1:
            continue  # a class would be left with one image or none
        for repeat in range(1 if fraction == 1 else REPEATS):
            rows = _part(labels, round(fraction * len(labels)), seed + 1000 * repeat)
            # C weights the sum of the losses: scaled, so that the regularisation does not depend on the size.
            probe = LinearProbe(C=C * len(labels) / len(rows), max_iter=200).fit(train[rows], labels[rows])
            sizes.append(len(rows))
            correct.append(probe.predict(val) == val_labels)
    return sizes, np.array(correct)


def extrapolate(sizes: Sequence[int], correct: npt.NDArray[np.bool_], factor: float = 2.0, seed: int = 0) -> Curve:
    """Fit the power law, with an interval from bootstrapping repeats and val images.

    Args:
        sizes: Training images of each measurement (R,), ascending.
        correct: (R, M) which of M val images each classified correctly.
        factor: Multiple of the present number of images.
        seed: Of the draws.
    """
    n = np.asarray(sizes, dtype=np.float64)
    accuracy = correct.mean(axis=1)
    if len(np.unique(n)) < FEWEST_SIZES:
        verdict = "no prediction: too few images per class to measure a learning curve"
        return Curve(list(sizes), accuracy.tolist(), None, None, None, None, verdict)
    rng = np.random.default_rng(seed)
    fit = fit_power_law(n, 1 - accuracy)
    gains = []
    for _ in range(BOOTSTRAPS):
        rows = np.concatenate([rng.choice(group, len(group)) for group in _groups(n)])
        images = rng.integers(0, correct.shape[1], correct.shape[1])
        gains.append(_gain(fit_power_law(n[rows], 1 - correct[np.ix_(rows, images)].mean(axis=1)), n.max(), factor))
    # The full size was measured only once, which the bootstrap misses: add its scatter, taken from the half size.
    scatter = _scatter(n, accuracy) * rng.normal(size=BOOTSTRAPS)
    low, high = np.quantile(np.array(gains) + scatter, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    gain = _gain(fit, n.max(), factor)
    low, high = min(low, gain), max(high, gain)
    return Curve(list(sizes), accuracy.tolist(), fit, gain, float(low), float(high), _words(gain, low, high, factor))


def fit_power_law(n: Doubles, error: Doubles) -> Fit:
    """Least squares with non-negative floor and scale, for the best exponent of a grid.

    For a given exponent the problem is linear, so nothing can fail to converge.
    """
    best: tuple[float, Fit] | None = None
    for exponent in EXPONENTS:
        # Scaled so that both columns are of order one.
        columns = np.stack([np.ones_like(n), (n / n.max()) ** -exponent], axis=1)
        (floor, scale), residual = nnls(columns, error)
        if best is None or residual < best[0] - 1e-12:
            best = residual, Fit(float(floor), float(scale * n.max() ** exponent), float(exponent))
    assert best is not None
    return best[1]


def _gain(fit: Fit, n: float, factor: float) -> float:
    return float(fit.error(n) - fit.error(factor * n))


def _groups(n: Doubles) -> list[npt.NDArray[np.int64]]:
    return [np.flatnonzero(n == size) for size in np.unique(n)]


def _scatter(n: Doubles, accuracy: Doubles) -> float:
    """Standard deviation between repeats, from the two largest sizes that were repeated."""
    spreads = [accuracy[group].var(ddof=1) for group in _groups(n) if len(group) > 1]
    return float(np.sqrt(np.mean(spreads[-2:]))) if spreads else 0.0


def _words(gain: float, low: float, high: float, factor: float) -> str:
    times = "twice" if factor == 2 else f"{factor:g} times"
    if high - low > WIDEST_USEFUL:
        return f"{times} the images: no reliable prediction ({100 * low:+.1f} to {100 * high:+.1f} points)"
    if high < 0.005:
        return f"{times} the images: hardly any gain ({100 * low:+.1f} to {100 * high:+.1f} points)"
    return f"{times} the images: about {100 * gain:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f})"


def _part(labels: Labels, size: int, seed: int) -> npt.NDArray[np.int64]:
    """Indices of a stratified subset that contains every class."""
    rows = np.arange(len(labels))
    if size >= len(labels):
        return rows
    classes, sizes = np.unique(labels, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(classes))
    counts = np.maximum(apportion(sizes, size, sizes, order), 1)
    _, chosen = take(rows, labels, dict(zip(classes.tolist(), counts.tolist(), strict=True)), seed, 80)
    return chosen
