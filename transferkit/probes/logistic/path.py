"""Logistic regression along a path of values of C: L-BFGS with a scale for each direction."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import OptimizeResult, minimize

from transferkit.arrays import Doubles
from transferkit.probes.logistic.basis import Basis, Head
from transferkit.probes.logistic.rows import Ints, Rows

_MEMORY = 10
"""Pairs of steps and gradients in the history of L-BFGS."""

_LEAST_SPREAD = 1e-6
"""Lower bound of the mean of p (1 - p), the curvature, for rows classified with certainty."""

_GAIN = 1e-2
"""Fraction of the objective by which it may still decrease at convergence."""


@dataclass(frozen=True)
class Solution:
    """The solution for one value of C.

    Attributes:
        head: In the basis.
        iterations: Of L-BFGS; 0 if the start had converged.
    """

    head: Head
    iterations: int


def solve_path(
    rows: Rows,
    basis: Basis,
    labels: Ints,
    Cs: Sequence[float] | Doubles,
    tol: float,
    max_iter: int,
    start: Head | None = None,
) -> Iterator[Solution]:
    """Minimise the mean loss plus |weights|^2 / (2 C N) for each C.

    That is the objective of scikit-learn's `LogisticRegression`, which the tests compare with. SciPy's solver is called
    directly, with a loss implemented here, because scikit-learn's estimator does not support variables scaled by the
    curvature of each class and direction, which changes with C, nor rows that are read in blocks. It takes a half to a
    fifth of the CPU time of the warm-started estimator (benchmarks/probes.py). A fit starts from the linear
    extrapolation of the last two solutions over log C.

    Args:
        rows: N rows in `basis`.
        basis: Computed from these rows.
        labels: (N,) from 0 to K - 1, all of which occur.
        Cs: In ascending order.
        tol: Largest entry of the gradient at convergence, unless the objective could still decrease by more than 1 %.
        max_iter: Maximum number of iterations per value of C.
        start: Start of the first fit, in the basis; by default zero.
    """
    classes = int(labels.max()) + 1
    count = 1 if classes == 2 else classes
    head = start if start is not None else (np.zeros((count, len(basis.variances))), np.zeros(count))
    solutions: list[Head] = []
    for i, C in enumerate(Cs):
        if i >= 2:
            step = np.log(C / Cs[i - 1]) / np.log(Cs[i - 1] / Cs[i - 2])
            (before, bias_before), (last, bias_last) = solutions
            head = last + step * (last - before), bias_last + step * (bias_last - bias_before)
        solution = _solve(rows, basis, labels, 1 / (C * rows.count), tol, max_iter, head)
        head = solution.head
        solutions = [*solutions[-1:], head]
        yield solution


def _solve(rows: Rows, basis: Basis, labels: Ints, penalty: float, tol: float, max_iter: int, start: Head) -> Solution:
    loss, slope, spread = _penalized(rows, labels, penalty, start)
    # The Hessian is nearly diagonal: of class k and direction j about mean p_k (1 - p_k) times the variance along j.
    spread = np.maximum(spread, _LEAST_SPREAD)
    newton = 1 / np.sqrt(_flat((spread[:, None] * basis.variances + penalty, spread)))

    def found(value: float, gradient: Head) -> bool:
        # A direction in which rows vary little always has a small gradient, so a small gradient is not sufficient: the
        # possible decrease of the objective, estimated with that Hessian, must be a small fraction of it as well.
        return _largest(gradient) < tol and float(np.sum((_flat(gradient) * newton) ** 2)) < 2 * _GAIN * value

    if found(loss, slope):
        return Solution(start, 0)
    # L-BFGS begins with a step of length one against the gradient: the length for variables scaled this way.
    scale = newton * np.linalg.norm(_flat(slope) * newton)
    origin = _flat(start)
    shape = start[0].shape
    latest = loss, slope
    known = True  # the first evaluation is the start

    def objective(variables: Doubles) -> tuple[float, Doubles]:
        nonlocal latest, known
        if not known:
            latest = _penalized(rows, labels, penalty, _head(origin + variables * scale, shape))[:2]
        known = False
        return latest[0], _flat(latest[1]) * scale

    def stop_when_found(intermediate_result: OptimizeResult) -> None:
        if found(*latest):  # of the accepted point, which was evaluated last
            raise StopIteration

    result = minimize(
        objective,
        np.zeros_like(origin),
        method="L-BFGS-B",
        jac=True,
        callback=stop_when_found,
        options={"maxiter": max_iter, "maxcor": _MEMORY, "gtol": 0, "ftol": 64 * np.finfo(float).eps},
    )
    weights, bias = _head(origin + result.x * scale, shape)
    if len(bias) > 1:
        bias = bias - bias.mean()  # a constant over the classes changes no probability: centred as in scikit-learn
    return Solution((weights, bias), int(result.nit))


def _penalized(rows: Rows, labels: Ints, penalty: float, head: Head) -> tuple[float, Head, Doubles]:
    loss, (slope, slope_bias), spread = rows.loss(head, labels)
    weights = head[0]
    return loss + penalty / 2 * float(np.vdot(weights, weights)), (slope + penalty * weights, slope_bias), spread


def _largest(head: Head) -> float:
    return max(float(np.abs(part).max()) for part in head)


def _flat(head: Head) -> Doubles:
    return np.concatenate([part.ravel() for part in head])


def _head(flat: Doubles, shape: tuple[int, ...]) -> Head:
    return flat[: -shape[0]].reshape(shape), flat[-shape[0] :]
