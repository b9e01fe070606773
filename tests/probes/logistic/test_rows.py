"""One pass over the rows: loss and gradient are scikit-learn's own, whether rows are kept or read in blocks."""

import numpy as np
import pytest
from sklearn._loss import HalfBinomialLoss, HalfMultinomialLoss
from sklearn.linear_model._linear_loss import LinearModelLoss

from transferkit.probes.logistic import basis, rows
from transferkit.probes.logistic.basis import Basis, Stack
from transferkit.probes.logistic.rows import Rows
from transferkit.probes.scaling import ShrunkScaler


@pytest.mark.parametrize("shape", [(60, 25), (25, 60)])
@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("kept", [True, False])
def test_a_pass(shape: tuple[int, int], classes: int, dtype: type, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(basis, "BLOCK", 300)
    monkeypatch.setattr(rows, "_LOGITS", 40)
    if not kept:
        monkeypatch.setattr(rows, "KEPT_BYTES", 0)
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=shape) + 3, rng.integers(classes, size=shape[0])
    made = Basis(Stack([X]), ShrunkScaler())
    looked_at = Rows(Stack([X]), made, dtype, fitted=kept)
    count = 1 if classes == 2 else classes
    head = rng.normal(size=(count, len(made.variances))), rng.normal(size=count)
    inside = made.project(X)
    np.testing.assert_allclose(looked_at.logits(head), inside @ head[0].T + head[1], atol=1e-4)

    loss, (slope, slope_bias), spread = looked_at.loss(head, y)
    half = HalfBinomialLoss() if classes == 2 else HalfMultinomialLoss(n_classes=classes)
    coef = np.concatenate([head[0], head[1][:, None]], axis=1)
    expected_loss, expected = LinearModelLoss(half, fit_intercept=True).loss_gradient(
        coef[0] if classes == 2 else coef, inside, y.astype(np.float64)
    )
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    ours = np.concatenate([slope, slope_bias[:, None]], axis=1)
    np.testing.assert_allclose(ours, np.reshape(expected, ours.shape), atol=1e-5)
    logits = inside @ coef[:, :-1].T + coef[:, -1]
    exponents = np.exp(logits)
    p = exponents / (1 + exponents) if classes == 2 else exponents / exponents.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(spread, (p * (1 - p)).mean(axis=0), atol=1e-6)
    assert looked_at.passes == 1


def test_rows_beyond_the_limit_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    X = np.random.default_rng(0).normal(size=(50, 8))
    made = Basis(Stack([X]), ShrunkScaler())
    monkeypatch.setattr(rows, "KEPT_BYTES", X.nbytes)
    assert Rows(Stack([X]), made, np.float64)._kept is not None
    monkeypatch.setattr(rows, "KEPT_BYTES", X.nbytes - 1)
    assert Rows(Stack([X]), made, np.float64)._kept is None
