"""Solutions are those of scikit-learn's newton-cg, each fitted alone."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from transferkit.probes.logistic.basis import Basis, Stack
from transferkit.probes.logistic.path import solve_path
from transferkit.probes.logistic.rows import Rows
from transferkit.probes.scaling import ShrunkScaler


@pytest.mark.parametrize(("count", "classes"), [(150, 2), (300, 10), (50, 10)])
def test_every_solution_on_the_path(count: int, classes: int) -> None:
    X, y = load_digits(return_X_y=True)
    X, y = X[y < classes][:count], y[y < classes][:count]
    basis = Basis(Stack([X]), ShrunkScaler())
    rows = Rows(Stack([X]), basis, np.float64, fitted=True)
    Cs = np.logspace(-4, 2, 7)
    solutions = list(solve_path(rows, basis, y, Cs, 1e-8, 2000))
    inside = basis.project(X)
    for C, solution in zip(Cs, solutions, strict=True):
        reference = LogisticRegression(C=C, solver="newton-cg", tol=1e-8, max_iter=500).fit(inside, y)
        expected = reference.decision_function(inside).reshape(len(X), -1)
        np.testing.assert_allclose(rows.logits(solution.head), expected, atol=2e-3 * np.abs(expected).max())


def test_a_start_that_is_good_enough_is_the_solution() -> None:
    X, y = load_digits(return_X_y=True)
    X, y = X[:200], y[:200]
    basis = Basis(Stack([X]), ShrunkScaler())
    rows = Rows(Stack([X]), basis, np.float64, fitted=True)
    first = next(solve_path(rows, basis, y, [0.1], 1e-5, 500))
    again = next(solve_path(rows, basis, y, [0.1], 1e-4, 500, first.head))
    assert first.iterations > 0
    assert again.iterations == 0


def test_iterations_are_bounded() -> None:
    X, y = load_digits(return_X_y=True)
    basis = Basis(Stack([X]), ShrunkScaler())
    rows = Rows(Stack([X]), basis, np.float64, fitted=True)
    assert next(solve_path(rows, basis, y, [100.0], 1e-9, 5)).iterations == 5


def test_the_objective_is_near_its_minimum_where_the_loss_is_next_to_nothing() -> None:
    """There the gradient is small, too, at heads that are far from the solution."""
    X, y = load_digits(return_X_y=True)
    X, y = X[:100], y[:100]
    basis = Basis(Stack([X]), ShrunkScaler())
    rows = Rows(Stack([X]), basis, np.float64, fitted=True)
    Cs = np.logspace(2, 5, 13)

    def objectives(tol: float) -> list[float]:
        found = zip(Cs, solve_path(rows, basis, y, Cs, tol, 5000), strict=True)
        return [rows.loss(s.head, y)[0] + np.vdot(s.head[0], s.head[0]) / (2 * C * len(y)) for C, s in found]

    assert np.array(objectives(1e-4)) == pytest.approx(np.array(objectives(1e-9)), rel=0.1)
