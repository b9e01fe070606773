"""The shrunk scale: the formula in a plain loop, scikit-learn's at either end, and blocks of features."""

from typing import Any

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from transferkit.errors import TransferkitError
from transferkit.probes.scaling import ShrunkScaler

RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 9)) * np.geomspace(0.1, 10, 9) + 5
X[:, 4] = 0.1


def test_follows_the_estimator_protocol() -> None:
    check_estimator(ShrunkScaler(), on_skip=None)


def test_the_formula() -> None:
    weight, variances = 30 / (30 + 50), [float(np.var(column)) for column in X.T]
    scaler = ShrunkScaler().fit(X)
    for j, variance in enumerate(variances):
        expected = weight * variance + (1 - weight) * sum(variances) / 9
        assert scaler.scale_[j] ** 2 == pytest.approx(expected)
    np.testing.assert_allclose(scaler.transform(X), (X - X.mean(0)) / scaler.scale_)
    np.testing.assert_allclose(scaler.inverse_transform(scaler.transform(X)), X)


def test_without_shrinkage_and_with_many_rows_it_is_scikit_learns() -> None:
    expected = StandardScaler().fit(X)
    np.testing.assert_allclose(ShrunkScaler(0).fit(X).transform(X), expected.transform(X), atol=1e-9)
    many = RNG.normal(size=(200_000, 3)) * [1, 2, 3]
    np.testing.assert_allclose(ShrunkScaler().fit(many).scale_, StandardScaler().fit(many).scale_, rtol=2e-3)


def test_features_that_are_all_constant_stay_zero() -> None:
    for shrinkage in (0, 50):
        np.testing.assert_allclose(ShrunkScaler(shrinkage).fit_transform(np.full((9, 3), 0.1)), 0, atol=1e-12)


def test_every_block_has_its_own_mean_variance() -> None:
    apart = [ShrunkScaler().fit(X[:, part]).scale_ for part in (slice(0, 2), slice(2, 9))]
    np.testing.assert_allclose(ShrunkScaler(widths=[2, 7]).fit(X).scale_, np.concatenate(apart))
    balanced = ShrunkScaler(widths=[2, 7], balance=True).fit_transform(X)
    totals = [balanced[:, part].var(axis=0).sum() for part in (slice(0, 2), slice(2, 9))]
    assert totals[0] == pytest.approx(totals[1])


@pytest.mark.parametrize("settings", [{"widths": [2, 3]}, {"shrinkage": -1}])
def test_what_cannot_be(settings: dict[str, Any]) -> None:
    with pytest.raises(TransferkitError, match="ShrunkScaler"):
        ShrunkScaler(**settings).fit(X)
