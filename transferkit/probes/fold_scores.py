"""Scores of linear classifiers over folds: every classifier and every C, from one factorisation for each fold."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from sklearn.utils.class_weight import compute_sample_weight

from transferkit.arrays import Doubles
from transferkit.folds import Fold
from transferkit.probes.closed_form import discriminant_heads, ridge_heads
from transferkit.probes.logistic.basis import Basis, Head, Stack, both_sides, two_sided
from transferkit.probes.logistic.effort import precise_enough, threads
from transferkit.probes.logistic.path import solve_path
from transferkit.probes.logistic.rows import Ints, Rows
from transferkit.probes.scaling import ShrunkScaler

GAINS: dict[str, Sequence[float]] = {
    "logistic": (1.0,),
    "discriminant": tuple(2.0**power for power in range(-9, 2)),
    "ridge": tuple(2.0**power for power in range(6)),
}
"""By classifier, the factors of its scores that are tried as logits. Logistic regression needs none; the factor of the
others determines probabilities, and not which class is the most probable."""

TOL = 1e-4
FINAL_TOL = 1e-5
MAX_ITER = 500

Grids = Mapping[str, Sequence[float] | Doubles]
"""Values of C in ascending order, by classifier."""


Hits = npt.NDArray[np.float32]
"""(M,): of each row the share of repeats in which it was classified correctly."""


@dataclass(frozen=True)
class Score:
    """One classifier with one C, over the folds.

    Attributes:
        classifier: Its name, one of `GAINS`.
        C: Inverse regularisation strength.
        gain: The factor of its scores with which, as logits, the risk is lowest.
        top1: Accuracy, over all repeats.
        nll: Negative log-likelihood, nats.
        risk: The same with one more image that is as confidently taken for the likeliest other class. Where every image
            is classified correctly, the loss alone would ask for unlimited confidence, which costs nats at the first
            mistake on new images.
        hits: (M,) of each evaluated row the share of repeats in which it was classified correctly.
        scaler: Of the features.
        balanced: Whether all classes weigh the same.
    """

    classifier: str
    C: float
    gain: float
    top1: float
    nll: float
    risk: float
    hits: Hits = field(repr=False, compare=False)
    scaler: ShrunkScaler | None = None
    balanced: bool = False


def score_classifiers(
    X: Stack, labels: Ints, folds: Sequence[Fold], scaler: ShrunkScaler | None, grids: Grids, balanced: bool = False
) -> list[Score]:
    """Evaluate classifiers over folds.

    In closed form, which takes a square matrix over rows or features, only if the fewer of these are at most 4096.

    Args:
        X: Features (N, D).
        labels: (N,) from 0 to K - 1; each class is among the fitted rows of every fold.
        folds: Fitted and evaluated rows.
        scaler: Of the features, fitted in every fold anew; None: they are only centred.
        grids: The classifiers and their values of C.
        balanced: Whether all classes weigh the same in logistic regression, as with `class_weight="balanced"` of
            scikit-learn; the losses of the held-out images count alike.
    """
    evaluated = np.unique(np.concatenate([test for _, test in folds]))
    tallies = {name: _Tally(len(evaluated), len(Cs), GAINS[name]) for name, Cs in grids.items()}
    for rows, test in folds:
        fitted, held_out = X.rows(rows), X.rows(test)
        with threads(fitted.shape, int(labels.max()) + 1):
            basis = Basis(fitted, scaler)
            dtype = precise_enough(len(rows), basis, int(labels.max()) + 1, TOL)
            inside, outside = Rows(fitted, basis, dtype, fitted=True), Rows(held_out, basis, dtype)
            inside = inside.weighted(class_factors(labels[rows], balanced))
            places = np.searchsorted(evaluated, test)
            for name, Cs in grids.items():
                for i, head in enumerate(_heads(name, inside, basis, labels[rows], Cs, TOL)):
                    tallies[name].add(i, two_sided(outside.logits(head)), labels[test], places)
    found = [score for name, Cs in grids.items() for score in tallies[name].scores(name, Cs, scaler)]
    return [replace(score, balanced=True) for score in found] if balanced else found


def class_factors(labels: Ints, balanced: bool) -> Doubles | None:
    """The factors (N,) of the losses with which all classes weigh the same; None where they are not wanted."""
    factors: Doubles | None = compute_sample_weight("balanced", labels) if balanced else None
    return factors


def fit_head(score: Score, X: Stack, labels: Ints) -> Head:
    """The head on raw features (K, D), (K,) of a classifier with its C and gain, fitted on rows X with labels (N,)."""
    classes = int(labels.max()) + 1
    with threads(X.shape, classes):
        basis = Basis(X, score.scaler)
        rows = Rows(X, basis, precise_enough(len(labels), basis, classes, FINAL_TOL), fitted=True)
        rows = rows.weighted(class_factors(labels, score.balanced))
        (head,) = _heads(score.classifier, rows, basis, labels, [score.C], FINAL_TOL)
        weights, bias = both_sides(basis.head_outside(head))
    return score.gain * weights, score.gain * bias


def _heads(
    name: str, rows: Rows, basis: Basis, labels: Ints, Cs: Sequence[float] | Doubles, tol: float
) -> Iterator[Head]:
    """The head of a classifier in the basis for each C, without its gain; none if the basis does not allow it."""
    if name == "logistic":
        yield from (solution.head for solution in solve_path(rows, basis, labels, Cs, tol, MAX_ITER))
    elif basis.rotated:
        yield from (ridge_heads if name == "ridge" else discriminant_heads)(rows, basis, labels, Cs)


class _Tally:
    """Correct predictions by row, and losses by gain, of one classifier for all values of C."""

    def __init__(self, rows: int, Cs: int, gains: Sequence[float]) -> None:
        self.gains = gains
        self.hits = np.zeros((Cs, rows), dtype=np.float32)
        self.times = np.zeros((Cs, rows), dtype=np.float32)
        self.losses = np.zeros((Cs, len(gains)))
        self.mistakes = np.zeros((Cs, len(gains)))

    def add(self, i: int, logits: Doubles, labels: Ints, places: Ints) -> None:
        """Count logits (n, K) of the i-th C on rows at these places."""
        self.hits[i, places] += logits.argmax(axis=1) == labels
        self.times[i, places] += 1
        logits = logits - logits.max(axis=1, keepdims=True)
        rows = np.arange(len(labels))
        true, others = float(logits[rows, labels].sum()), logits.copy()
        others[rows, labels] = -np.inf
        likeliest = float(others.max(axis=1).sum())
        for j, gain in enumerate(self.gains):
            total = float(np.log(np.exp(gain * logits).sum(axis=1)).sum())
            self.losses[i, j] += total - gain * true
            self.mistakes[i, j] += total - gain * likeliest

    def scores(self, name: str, Cs: Sequence[float] | Doubles, scaler: ShrunkScaler | None) -> Iterator[Score]:
        """The score of every C that was counted."""
        for i, C in enumerate(Cs):
            count = float(self.times[i].sum())
            if count:
                hits, images = self.hits[i] / self.times[i], self.hits.shape[1]
                losses, risks = self.losses[i] / count, (images * self.losses[i] + self.mistakes[i]) / (images + 1)
                best = int(risks.argmin())
                figures = float(self.hits[i].sum()) / count, float(losses[best]), float(risks[best]) / count
                yield Score(name, float(C), self.gains[best], *figures, hits, scaler)
