"""Linear probes of targets that are no classes: a logistic regression for each label, or ridge regression of values.

Each column of the target has a C of its own. One factorisation (`Basis`) of the rows of a fold serves all columns and
all values of C.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from transferkit.arrays import Doubles
from transferkit.errors import TransferkitError
from transferkit.folds import Fold
from transferkit.probes.closed_form import ridge_values
from transferkit.probes.fold_scores import FINAL_TOL, MAX_ITER, TOL, class_factors
from transferkit.probes.logistic.basis import MOST_DIRECTIONS, Basis, Head, Stack
from transferkit.probes.logistic.effort import precise_enough, threads
from transferkit.probes.logistic.path import solve_path
from transferkit.probes.logistic.rows import Rows
from transferkit.probes.scaling import ShrunkScaler


@dataclass(frozen=True)
class ColumnSolver:
    """How the columns are fitted.

    Attributes:
        kind: "logistic", for columns of 0 and 1, or "ridge".
        scaler: Of the features.
        balanced: Whether the images with a label and those without weigh the same in its logistic regression.
    """

    kind: str
    scaler: ShrunkScaler
    balanced: bool = False


@dataclass(frozen=True)
class ColumnPath:
    """The losses of every column and C on rows that were not fitted.

    Attributes:
        Cs: Ascending.
        losses: (T, number of Cs): cross entropy in nats, or squared error.
        risks: The same, of logistic regression with one more image with the opposite label: where every image is right,
            the loss alone would ask for unlimited confidence.
    """

    Cs: Doubles
    losses: Doubles
    risks: Doubles

    @property
    def best(self) -> Doubles:
        """The C of every column (T,) with the lowest risk, the smaller of equal ones."""
        best: Doubles = self.Cs[self.risks.argmin(axis=1)]
        return best

    @property
    def loss(self) -> float:
        """The mean loss of the columns, each with its best C."""
        return float(self.losses[np.arange(len(self.losses)), self.risks.argmin(axis=1)].mean())

    def rows(self) -> list[dict[str, float]]:
        """One row for each C: `C`, and `val_loss`, the mean over the columns."""
        pairs = zip(self.Cs.tolist(), self.losses.mean(axis=0).tolist(), strict=True)
        return [{"C": C, "val_loss": loss} for C, loss in pairs]


def column_path(X: Stack, Y: Doubles, folds: Sequence[Fold], solver: ColumnSolver, Cs: Doubles) -> ColumnPath:
    """Evaluate every C of every column over folds.

    Args:
        X: Features (N, D).
        Y: Columns (N, T).
        folds: Fitted and evaluated rows.
        solver: How to fit.
        Cs: Ascending.

    Raises:
        TransferkitError: Ridge regression of too many rows and features.
    """
    sums = np.zeros((2, Y.shape[1], len(Cs)))
    for rows, test in folds:
        fitted, held_out = X.rows(rows), X.rows(test)
        with threads(fitted.shape, Y.shape[1]):
            basis = _basis(fitted, solver)
            dtype = precise_enough(len(rows), basis, Y.shape[1], TOL)
            inside, outside = Rows(fitted, basis, dtype, fitted=True), Rows(held_out, basis, dtype)
            for t, path in enumerate(_paths(inside, basis, Y[rows], solver, np.tile(Cs, (Y.shape[1], 1)), TOL)):
                for i, head in enumerate(path):
                    sums[:, t, i] += _losses(solver.kind, outside.logits(head)[:, 0], Y[test, t])
    images = len(np.unique(np.concatenate([test for _, test in folds])))
    losses, opposite = sums / sum(len(test) for _, test in folds)
    return ColumnPath(Cs, losses, (images * losses + opposite) / (images + 1))


def fit_columns(X: Stack, Y: Doubles, solver: ColumnSolver, Cs: Doubles) -> Head:
    """The head (T, D), (T,) on raw features, with the C (T,) of every column, fitted on rows X (N, D), Y (N, T)."""
    with threads(X.shape, Y.shape[1]):
        basis = _basis(X, solver)
        rows = Rows(X, basis, precise_enough(len(Y), basis, Y.shape[1], FINAL_TOL), fitted=True)
        heads = [head for path in _paths(rows, basis, Y, solver, Cs[:, None], FINAL_TOL) for head in path]
        inside = np.concatenate([head[0] for head in heads]), np.concatenate([head[1] for head in heads])
        return basis.head_outside(inside)


def held_out_logits(X: Stack, Y: Doubles, folds: Sequence[Fold], solver: ColumnSolver, Cs: Doubles) -> Doubles:
    """Logits (M, T) of the evaluated rows of all folds, one fold after the other, by heads fitted without them."""
    found = []
    for rows, test in folds:
        weights, bias = fit_columns(X.rows(rows), Y[rows], solver, Cs)
        found += [block @ weights.T + bias for _, block in X.rows(test).blocks()]
    return np.concatenate(found)


def _basis(X: Stack, solver: ColumnSolver) -> Basis:
    basis = Basis(X, ShrunkScaler(**solver.scaler.get_params()))
    if solver.kind == "ridge" and not basis.rotated:
        raise TransferkitError(
            f"Ridge regression on {X.shape[0]} images with {X.shape[1]} features: one of them may be at most "
            f"{MOST_DIRECTIONS}. Choose fewer stages (strategy.probe.stages), another strategy.pool, or "
            "dataset.fraction."
        )
    return basis


def _paths(
    rows: Rows, basis: Basis, Y: Doubles, solver: ColumnSolver, Cs: Doubles, tol: float
) -> Iterator[Iterator[Head]]:
    """For every column the heads (1, R), (1,) in the basis for its values of C, a row of `Cs` (T, ...)."""
    for t in range(Y.shape[1]):
        if solver.kind == "ridge":
            yield ridge_values(rows, basis, Y[:, t : t + 1], Cs[t])
            continue
        labels = Y[:, t].astype(np.int64)
        if labels.min() == labels.max():  # in a fold without the label, or with nothing else
            yield (_constant(labels, basis) for _ in Cs[t])
            continue
        weighted = rows.weighted(class_factors(labels, solver.balanced))
        solutions = solve_path(weighted, basis, labels, Cs[t], tol, MAX_ITER)
        yield (solution.head for solution in solutions)


def _constant(labels: npt.NDArray[np.int64], basis: Basis) -> Head:
    """The head that gives every image the share of the label, with half an image more of either kind."""
    share = (labels.sum() + 0.5) / (len(labels) + 1)
    return np.zeros((1, len(basis.variances))), np.array([np.log(share / (1 - share))])


def _losses(kind: str, logits: Doubles, truth: Doubles) -> tuple[float, float]:
    """The sum of the losses, and that with the opposite labels; 0 for values, which have none."""
    if kind == "ridge":
        return float(((logits - truth) ** 2).sum()), 0.0
    signed = np.where(truth == 1, logits, -logits)
    return float(np.logaddexp(0, -signed).sum()), float(np.logaddexp(0, signed).sum())
