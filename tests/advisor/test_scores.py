"""Each score against the formula of its paper, computed otherwise."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from transferkit.advisor.scores import h_score, leep, logme


def blobs(n: int = 60, d: int = 5, classes: int = 3, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.arange(n) % classes
    return rng.normal(size=(classes, d))[labels] * spread + rng.normal(size=(n, d)), labels


@pytest.mark.parametrize(("n", "d"), [(60, 5), (20, 30)])
def test_logme_is_the_largest_marginal_likelihood(n: int, d: int) -> None:
    features, labels = blobs(n, d)
    best = []
    for k in range(3):
        y = (labels == k).astype(float)

        def negative(log_parameters: np.ndarray, y: np.ndarray = y) -> float:
            alpha, beta = np.exp(np.clip(log_parameters, -30, 30))
            # The marginal of y is a normal distribution: no weights, no evidence formula.
            covariance = features @ features.T / alpha + np.eye(n) / beta
            return float(-multivariate_normal(np.zeros(n), covariance).logpdf(y)) / n

        starts = [minimize(negative, [a, b], method="Nelder-Mead").fun for a in (0.0, 3.0) for b in (0.0, 2.0)]
        best.append(-min(starts))
    assert logme(features, labels) == pytest.approx(np.mean(best), abs=1e-4)


def test_logme_prefers_features_that_tell_the_classes_apart() -> None:
    assert logme(*blobs(spread=3.0)) > logme(*blobs(spread=1.0)) > logme(*blobs(spread=0.0))


def test_logme_survives_features_that_explain_everything() -> None:
    labels = np.arange(30) % 3
    assert math.isfinite(logme(np.eye(3)[labels], labels))


def test_h_score_is_the_trace_over_explicit_covariances() -> None:
    features, labels = blobs()
    expected_features = np.stack([features[labels == label].mean(axis=0) for label in labels])
    within = np.cov(features, rowvar=False, bias=True)
    between = np.cov(expected_features, rowvar=False, bias=True)
    assert h_score(features, labels) == pytest.approx(np.trace(np.linalg.solve(within, between)))


def test_h_score_does_not_change_under_invertible_maps() -> None:
    features, labels = blobs()
    mixed = features @ np.random.default_rng(1).normal(size=(5, 5)) + 7
    assert h_score(mixed, labels) == pytest.approx(h_score(features, labels))


def test_leep_by_loops() -> None:
    rng = np.random.default_rng(0)
    theta = rng.dirichlet(np.ones(4), size=12)
    labels = rng.integers(0, 3, 12)
    total = 0.0
    for x, y in zip(theta, labels, strict=True):
        likelihood = 0.0
        for z in range(4):
            joint = sum(theta[i, z] for i in range(12) if labels[i] == y) / 12
            marginal = sum(theta[i, z] for i in range(12)) / 12
            likelihood += joint / marginal * x[z]
        total += math.log(likelihood)
    assert leep(theta, labels) == pytest.approx(total / 12)


def test_leep_of_a_source_that_knows_the_labels_is_zero() -> None:
    labels = np.arange(9) % 3
    assert leep(np.eye(3)[labels], labels) == pytest.approx(0.0)
