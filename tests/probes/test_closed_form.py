"""Ridge and discriminant analysis in closed form give scikit-learn's logits, with few rows and with many."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge

from tests.probes.test_linear import digits_features
from transferkit.probes.closed_form import discriminant_heads, ridge_heads
from transferkit.probes.logistic import rows as rows_module
from transferkit.probes.logistic.basis import Basis, Head, Stack
from transferkit.probes.logistic.rows import Rows
from transferkit.probes.scaling import ShrunkScaler

CS = [0.01, 1.0, 30.0]
CASES = pytest.mark.parametrize(
    ("count", "width", "classes", "kept"), [(40, 300, 10, True), (600, 60, 10, False), (30, 90, 2, True)]
)


def prepared(
    count: int, width: int, classes: int, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> tuple[Rows, Basis, np.ndarray, np.ndarray, np.ndarray]:
    """Rows in their basis, labels, and the scaled rows: those fitted, and others."""
    if not kept:
        monkeypatch.setattr(rows_module, "KEPT_BYTES", 0)
    X, y = digits_features(width, classes)
    scaler = ShrunkScaler()
    basis = Basis(Stack([X[:count]]), scaler)
    rows = Rows(Stack([X[:count]]), basis, np.float64, fitted=kept)
    return rows, basis, y[:count], scaler.transform(X[:count].astype(float)), X[-200:]


def logits(basis: Basis, head: Head, X: np.ndarray) -> np.ndarray:
    weights, bias = basis.head_outside(head)
    return np.asarray(X @ weights.T + bias)


@CASES
def test_ridge(count: int, width: int, classes: int, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, basis, y, Z, X = prepared(count, width, classes, kept, monkeypatch)
    scaler = ShrunkScaler().fit(digits_features(width, classes)[0][:count].astype(float))
    for C, head in zip(CS, ridge_heads(rows, basis, y, CS), strict=True):
        expected = Ridge(alpha=1 / C).fit(Z, np.eye(classes)[y]).predict(scaler.transform(X.astype(float)))
        np.testing.assert_allclose(logits(basis, head, X), expected, atol=1e-5)


@CASES
def test_discriminant(count: int, width: int, classes: int, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, basis, y, Z, X = prepared(count, width, classes, kept, monkeypatch)
    scaler = ShrunkScaler().fit(digits_features(width, classes)[0][:count].astype(float))
    for C, head in zip(CS, discriminant_heads(rows, basis, y, CS), strict=True):
        shrinkage = width / C / (count - 1 + width / C)
        model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(Z, y)
        expected = model.decision_function(scaler.transform(X.astype(float)))
        ours = logits(basis, head, X)
        # A constant over the classes changes no probability.
        ours, expected = (
            (ours[:, 1] - ours[:, 0], expected) if classes == 2 else (ours - ours[:, :1], expected - expected[:, :1])
        )
        np.testing.assert_allclose(ours, expected, atol=1e-6 * np.abs(expected).max())


def test_classes_of_equal_rows_do_not_divide_by_zero() -> None:
    X = np.repeat(np.eye(3), 4, axis=0)
    y = np.repeat(np.arange(3), 4)
    basis = Basis(Stack([X]), None)
    (head,) = discriminant_heads(Rows(Stack([X]), basis, np.float64, fitted=True), basis, y, [1.0])
    assert (logits(basis, head, X).argmax(axis=1) == y).all()
