"""Logistic regression for one value of C after the other: L-BFGS with steps fitted to each direction."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import OptimizeResult, minimize

from transferkit.arrays import Doubles
from transferkit.probes.logistic.basis import Basis, Head
from transferkit.probes.logistic.rows import Ints, Rows

_MEMORY = 10
"""Pairs of steps and gradients that L-BFGS keeps."""

_LEAST_SPREAD = 1e-6
"""Of p (1 - p), whose mean tells the curvature, where all rows are classified with certainty."""

_GAIN = 1e-2
"""The part of the objective that may still be there to gain when a solution counts as found."""


@dataclass(frozen=True)
class Solution:
    """Of one value of C.

    Attributes:
        head: Inside the basis.
        iterations: Of L-BFGS; none where the start was good enough.
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

    That is the objective of scikit-learn's `LogisticRegression`, which is the reference of the result. A solver of
    scipy is called here, with a loss of our own, for what scikit-learn has no room for: variables scaled by the
    curvature of each class and direction, which changes with C, and rows that are read in blocks. Against it,
    warm-started, a half to a fifth of the processor time (benchmarks/probes.py). A fit starts where the straight line
    through the last two solutions, over log C, leads.

    Args:
        rows: N of them, inside `basis`.
        basis: That was made of these rows.
        labels: (N,) from 0 to K - 1, all of which occur.
        Cs: In ascending order.
        tol: Largest entry of the gradient at which a solution counts as found, unless more than a hundredth of the
            objective could still be gained.
        max_iter: Most iterations for a value of C.
        start: Where the first fit starts, inside; by default at zero.
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
        # A direction in which rows vary little has a small gradient wherever it stands, so the size of the gradient is
        # not enough: what could still be gained, by that Hessian, must be a small part of the objective as well.
        return _largest(gradient) < tol and float(np.sum((_flat(gradient) * newton) ** 2)) < 2 * _GAIN * value

    if found(loss, slope):
        return Solution(start, 0)
    # L-BFGS begins with a step of length one against the gradient: here the length that such scales ask for.
    scale = newton * np.linalg.norm(_flat(slope) * newton)
    origin = _flat(start)
    shape = start[0].shape
    latest = loss, slope
    known = True  # the first that is asked for is the start

    def objective(variables: Doubles) -> tuple[float, Doubles]:
        nonlocal latest, known
        if not known:
            latest = _penalized(rows, labels, penalty, _head(origin + variables * scale, shape))[:2]
        known = False
        return latest[0], _flat(latest[1]) * scale

    def stop_when_found(intermediate_result: OptimizeResult) -> None:
        if found(*latest):  # of the point that was accepted: the last one looked at
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
        bias = bias - bias.mean()  # the same for all classes, it changes no probability: scikit-learn's choice
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
