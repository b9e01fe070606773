"""The whole fit of a linear probe on rows in memory or on disk: C is selected, then all rows are fitted with it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax, softmax

from transferkit.arrays import Doubles
from transferkit.metrics import compute_metrics
from transferkit.probes.logistic.basis import Basis, Head, Stack, both_sides, two_sided
from transferkit.probes.logistic.effort import precise_enough
from transferkit.probes.logistic.path import Solution, solve_path
from transferkit.probes.logistic.rows import Ints, Rows
from transferkit.probes.scaling import ShrunkScaler
from transferkit.ranking import rank


@dataclass(frozen=True)
class Solver:
    """How rows are fitted.

    Attributes:
        num_classes: K.
        scaler: Of the features; None for none. It is not changed.
        tol: Largest entry of the gradient at which the sweep has converged; the final fit uses a tenth of it.
        max_iter: Maximum number of iterations per value of C.
    """

    num_classes: int
    scaler: ShrunkScaler | None
    tol: float
    max_iter: int

    def basis(self, stack: Stack) -> Basis:
        """The directions of these rows, scaled."""
        return Basis(stack, None if self.scaler is None else ShrunkScaler(**self.scaler.get_params()))


@dataclass(frozen=True)
class Fit:
    """A fitted head, and how it came about.

    Attributes:
        C: The value used.
        head: For raw features, a row of weights for each class; None if there is none yet.
        iterations: Of the fit that gave the head.
        passes: Over the rows, in the sweep and in the final fit.
        path: One dict per value of C, ascending: `C`, `val_top1`, `val_nll`; empty without validation.
        val_probabilities: (N_val, K) of the selected head before the final fit.
        val_metrics: `metrics.compute_metrics` of these.
    """

    C: float
    head: Head | None
    iterations: int = 0
    passes: int = 0
    path: list[dict[str, float]] = field(default_factory=list)
    val_probabilities: Doubles = field(default_factory=lambda: np.empty((0, 0)))
    val_metrics: dict[str, float | int] = field(default_factory=dict)


Labelled = tuple[npt.NDArray[Any], Ints]
"""Rows of features and their classes."""


def select_C(solver: Solver, Cs: Doubles, train: Labelled, val: Labelled) -> Fit:
    """Fit the training rows with every value of C, ascending, and select the head by the validation rows."""
    X, X_val = Stack([train[0]]), Stack([val[0]])
    basis = solver.basis(X)
    dtype = precise_enough(X.shape[0], basis, solver.num_classes, solver.tol)
    rows, rows_val = Rows(X, basis, dtype, fitted=True), Rows(X_val, basis, dtype)
    path: list[dict[str, float]] = []
    best: tuple[tuple[float, float, int], float, Solution, Doubles] | None = None
    for C, solution in zip(Cs, _solutions(solver, rows, basis, train[1], Cs), strict=True):
        logits = two_sided(rows_val.logits(solution.head))
        top1 = float((logits.argmax(axis=1) == val[1]).mean())
        nll = float(-log_softmax(logits, axis=1)[np.arange(len(val[1])), val[1]].mean())
        path.append({"C": float(C), "val_top1": top1, "val_nll": nll})
        if best is None or rank(top1, nll) > best[0]:
            best = rank(top1, nll), float(C), solution, logits
    assert best is not None
    _, C, solution, logits = best
    probabilities: Doubles = softmax(logits, axis=1)
    metrics = compute_metrics(probabilities, val[1])
    head = basis.head_outside(solution.head)
    return Fit(C, both_sides(head), solution.iterations, rows.passes, path, probabilities, metrics)


def fit_rows(solver: Solver, start: Fit, parts: Sequence[npt.NDArray[Any]], labels: Ints) -> Fit:
    """Fit all rows of several arrays with the C of `start`, from its head on if it has one."""
    X = Stack([*parts])
    precise = replace(solver, tol=solver.tol / 10)
    basis = solver.basis(X)
    rows = Rows(X, basis, precise_enough(X.shape[0], basis, solver.num_classes, precise.tol), fitted=True)
    inside = basis.head_inside(_one_side(start.head)) if start.head else None
    solution = next(_solutions(precise, rows, basis, labels, [start.C], inside))
    return Fit(start.C, both_sides(basis.head_outside(solution.head)), solution.iterations, rows.passes)


def _solutions(
    solver: Solver, rows: Rows, basis: Basis, labels: Ints, Cs: Sequence[float] | Doubles, start: Head | None = None
) -> Iterator[Solution]:
    return solve_path(rows, basis, labels, Cs, solver.tol, solver.max_iter, start)


def _one_side(head: Head) -> Head:
    """The inverse of `both_sides`: the single row that scikit-learn uses for two classes."""
    coef, intercept = head
    return (coef[1:] - coef[:1], intercept[1:] - intercept[:1]) if len(coef) == 2 else head
