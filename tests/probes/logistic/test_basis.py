"""Directions: those of a singular value decomposition, whichever way they were found; heads mean the same outside."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from transferkit.probes.logistic import basis
from transferkit.probes.logistic.basis import Basis, Stack
from transferkit.probes.scaling import ShrunkScaler

SHAPES = [(40, 90), (90, 40), (50, 50)]


def features(shape: tuple[int, int]) -> np.ndarray:
    rng = np.random.default_rng(0)
    X = (rng.normal(size=shape) * np.geomspace(0.1, 100, shape[1]) + 5).astype(np.float32)
    X[:, 3] = 7.0
    X[:, 4] = X[:, 5]
    return X


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scaler", [ShrunkScaler(), ShrunkScaler(0), None], ids=str)
def test_they_are_the_principal_components(shape: tuple[int, int], scaler: ShrunkScaler | None) -> None:
    X = features(shape)
    made = Basis(Stack([X[:13], X[13:]]), scaler)
    Z = (scaler or StandardScaler(with_std=False)).fit_transform(X.astype(np.float64))
    pca = PCA().fit(Z)
    variances = np.sort(pca.explained_variance_)[::-1] * (len(X) - 1) / len(X)
    np.testing.assert_allclose(made.variances[::-1], variances[: len(made.variances)], rtol=1e-6)
    assert len(made.variances) == np.linalg.matrix_rank(Z)
    rows = made.project(X)
    np.testing.assert_allclose(rows @ rows.T, Z @ Z.T, atol=1e-6 * np.abs(Z @ Z.T).max())
    if made.rows is not None:
        np.testing.assert_allclose(made.rows, rows, atol=1e-6 * np.abs(rows).max())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("most", [0, 4096], ids=["as they are", "rotated"])
def test_a_head_means_the_same_inside_and_outside(
    shape: tuple[int, int], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(basis, "MOST_DIRECTIONS", most)
    monkeypatch.setattr(basis, "BLOCK", 700)
    X = features(shape)
    made = Basis(Stack([X]), ShrunkScaler())
    rng = np.random.default_rng(1)
    inside = rng.normal(size=(3, len(made.variances))), rng.normal(size=3)
    outside = made.head_outside(inside)
    expected = made.project(X) @ inside[0].T + inside[1]
    np.testing.assert_allclose(X @ outside[0].T + outside[1], expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())
    for given, back in zip(inside, made.head_inside(outside), strict=True):
        np.testing.assert_allclose(back, given, atol=1e-6)


def test_rows_that_are_all_alike_have_no_direction() -> None:
    made = Basis(Stack([np.ones((4, 9))]), ShrunkScaler())
    assert np.isfinite(made.project(np.full((2, 9), 3.0))).all()
    assert made.variances.tolist() == [0]


def test_a_stack_is_read_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(basis, "BLOCK", 20)
    X = features((90, 6))
    stack = Stack([X[:41], X[41:42], X[42:]])
    assert stack.shape == X.shape
    blocks = list(stack.blocks())
    np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), X)
    assert all(block.shape[0] <= 3 and np.shares_memory(block, X) for _, block in blocks)
    assert [where.start for where, _ in blocks] == sorted(where.start for where, _ in blocks)
    assert blocks[-1][0].stop == 90
