"""Conformal sets: their coverage on exchangeable images, and the cases at the ends."""

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from transferkit.models.conformal import MOST_SCORES, class_set, least_probability, true_class_scores


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.98])
def test_the_coverage_on_held_out_digits_is_within_the_binomial_error(coverage: float) -> None:
    X, y = load_digits(return_X_y=True)
    X_fit, X_rest, y_fit, y_rest = train_test_split(X, y, train_size=60, random_state=0, stratify=y)
    model = LogisticRegression(C=1e-4, max_iter=500).fit(X_fit, y_fit)
    probabilities = model.predict_proba(X_rest).astype(np.float32)
    half = len(y_rest) // 2
    least = least_probability(true_class_scores(probabilities[:half], y_rest[:half]), coverage)
    sets = [class_set(row, least) for row in probabilities[half:]]
    covered = sum(int(label) in found for label, found in zip(y_rest[half:], sets, strict=True))
    n = len(sets)
    # Twice as wide as the error of n images: the threshold is measured on as many.
    low, high = (binom.ppf(end, n, coverage) for end in (0.01, 0.99))
    assert 2 * low - n * coverage <= covered <= 2 * high - n * coverage
    assert 1 <= np.mean([len(found) for found in sets]) < 10


def test_too_few_images_give_every_class() -> None:
    scores = true_class_scores(np.full((5, 4), 0.25, np.float32), np.arange(4)[[0, 1, 2, 3, 0]])
    assert least_probability(scores, 0.9) == 0
    assert least_probability(scores, 0.8) == pytest.approx(0.25)
    assert class_set(np.array([0.1, 0.6, 0.3], np.float32), 0.0) == [1, 2, 0]
    assert class_set(np.array([0.3, 0.4, 0.3], np.float32), 0.9) == [1]


def test_many_scores_are_thinned_out() -> None:
    rng = np.random.default_rng(0)
    p = rng.random((3 * MOST_SCORES, 1)).astype(np.float32)
    scores = true_class_scores(np.concatenate([p, 1 - p], axis=1), np.zeros(len(p), np.int64))
    assert len(scores) == MOST_SCORES
    assert np.quantile(scores, 0.9) == pytest.approx(np.quantile(1 - p, 0.9), abs=1e-3)
