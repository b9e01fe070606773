"""Linear classifiers in closed form, in the basis of principal directions: ridge regression and discriminant analysis.

There the total scatter is a diagonal matrix, so that one factorisation (`Basis`) serves every value of C, and a fit
takes no more than the sum of each class's rows.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from transferkit.arrays import Doubles
from transferkit.probes.logistic.basis import Basis, Head
from transferkit.probes.logistic.rows import Ints, Rows

_LEAST_TRACE = 1e-12
"""Least trace of the covariance within classes, as a fraction of the total variance."""


def ridge_heads(rows: Rows, basis: Basis, labels: Ints, Cs: Sequence[float] | Doubles) -> Iterator[Head]:
    """The head of ridge regression for each C: least squares of the classes' indicators, 0 and 1.

    |Y - Z W - b|^2 + |W|^2 / C, that is scikit-learn's `Ridge` with alpha = 1 / C on these rows. Scores are estimates
    of probabilities; as logits they need a factor.

    Args:
        rows: N rows in `basis`, which is rotated.
        basis: Computed from these rows.
        labels: (N,) from 0 to K - 1, all of which occur.
        Cs: Inverse regularisation strengths.
    """
    sums, counts = rows.class_sums(labels)
    yield from _least_squares(sums, counts / rows.count, rows.count * basis.variances, Cs)


def ridge_values(rows: Rows, basis: Basis, values: Doubles, Cs: Sequence[float] | Doubles) -> Iterator[Head]:
    """The head of ridge regression of values (N, T) for each C; otherwise as `ridge_heads`."""
    yield from _least_squares(rows.value_sums(values), values.mean(axis=0), rows.count * basis.variances, Cs)


def _least_squares(sums: Doubles, means: Doubles, squares: Doubles, Cs: Sequence[float] | Doubles) -> Iterator[Head]:
    """Heads (T, R), (T,) from the sums of rows times values (T, R), the mean values, and the sums of squares (R,)."""
    for C in Cs:
        yield sums / (squares + 1 / C), means


def discriminant_heads(rows: Rows, basis: Basis, labels: Ints, Cs: Sequence[float] | Doubles) -> Iterator[Head]:
    """The head of linear discriminant analysis for each C, with one covariance for all classes, shrunk by its trace.

    S is the covariance within classes (divisor N) of D features. The shrunk one is ((N - 1) S + tr(S) / C I) /
    (N - 1 + D / C); C = 1 is the choice that needs no search (precision proportional to the inverse of
    (N - 1) S + tr(S) I), which leaves the trace as it is. scikit-learn's `LinearDiscriminantAnalysis` of solver "lsqr"
    with shrinkage D / C / (N - 1 + D / C) has the same logits. Rows: (N,) in `basis`, and labels as for `ridge_heads`.
    """
    sums, counts = rows.class_sums(labels)
    means, width, last = sums / counts[:, None], basis.width, rows.count - 1
    within = rows.count * basis.variances - np.einsum("k,kr->r", counts, means**2)
    trace = max(within.sum() / rows.count, _LEAST_TRACE * float(basis.variances.sum()), np.finfo(float).tiny)
    part = np.sqrt(counts * last / rows.count)[:, None] * means  # (N - 1) S = diagonal - part.T @ part
    for C in Cs:
        diagonal = last * basis.variances + trace / C
        solved = means / diagonal
        # The inverse of a diagonal matrix minus one of rank K (Woodbury).
        inner = np.eye(len(counts)) - (part / diagonal) @ part.T
        solved += np.linalg.solve(inner, part @ solved.T).T @ (part / diagonal)
        weights = (last + width / C) * solved
        yield weights, np.log(counts / rows.count) - 0.5 * np.einsum("kr,kr->k", weights, means)
