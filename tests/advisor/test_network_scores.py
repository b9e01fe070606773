"""Accuracies of networks over folds, paired differences, and the choice."""

from collections.abc import Sequence

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from transferkit.advisor.network_costs import NetworkCost
from transferkit.advisor.network_scores import (
    NetworkScore,
    Probed,
    best_by_prior,
    cheapest_within_error,
    difference,
    probe_folds,
    ranked,
)
from transferkit.folds import make_folds


def network(name: str, hits: Sequence[float], seconds: float = 1.0, nll: float = 0.5, **known) -> NetworkScore:
    values = np.array(hits)
    probe = Probed(1.0, float(values.mean()), nll, values)
    cost = NetworkCost(seconds, 0.5, known.pop("parameters", 1000), 4000)
    return NetworkScore(name, "w", {"top": probe}, 0.5, cost, **known)


def test_out_of_fold_results_are_those_of_scikit_learn():
    """With hundreds of rows the shrunk scale is the plain one."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 200)
    features = (rng.normal(size=(600, 8)) + 0.9 * np.eye(3, 8)[labels]).astype(np.float32)
    folds = make_folds(labels, repeats=1, seed=0)
    found = probe_folds(features, labels, folds)
    for rows, test in folds:
        reference = make_pipeline(StandardScaler(), LogisticRegression(C=found.C, max_iter=1000))
        reference.fit(features[rows], labels[rows])
        right = reference.predict(features[test]) == labels[test]
        assert np.mean(right == found.hits[test]) > 0.97
    assert found.top1 == pytest.approx(found.hits.mean())


def test_repeats_are_averaged_and_rows_that_no_fold_evaluates_stay_out():
    rng = np.random.default_rng(1)
    labels = np.array([0] * 10 + [1] * 10 + [2])
    features = (rng.normal(size=(21, 3)) + 2 * np.eye(3)[labels]).astype(np.float32)
    found = probe_folds(features, labels, make_folds(labels, repeats=4, seed=0))
    assert found.hits.shape == (20,)
    assert np.all(np.isin(found.hits, (0, 0.25, 0.5, 0.75, 1)))
    assert found.top1 == pytest.approx(found.hits.mean())


def test_differences_are_paired():
    """Two networks with the same accuracy as two others differ on 2 images only: the error is far smaller."""
    alike = difference(network("a", [1] * 80 + [0] * 20), network("b", [1] * 78 + [0] * 22))
    assert alike.mean == pytest.approx(0.02)
    assert alike.standard_error == pytest.approx(np.sqrt(3) / 100)
    apart = difference(network("a", [1] * 80 + [0] * 20), network("b", [0] * 20 + [1] * 78 + [0] * 2))
    assert apart.mean == pytest.approx(0.02)
    assert apart.standard_error == pytest.approx(np.sqrt(18 + 20 + 1) / 100, rel=0.05)
    far = difference(network("a", [1] * 100), network("b", [1] * 60 + [0] * 40))
    assert alike.within_error
    assert apart.within_error
    assert not far.within_error


def test_equal_accuracy_is_ranked_by_the_loss():
    hits = [1.0] * 9 + [0.0]
    names = [one.name for one in ranked([network("a", hits, nll=0.4), network("b", hits, nll=0.3)])]
    assert names == ["b", "a"]


def test_a_cheaper_network_is_used_within_one_standard_error_only():
    best = network("best", [1] * 95 + [0] * 5, seconds=10)
    near = network("near", [1] * 94 + [0] * 6, seconds=2)
    nearest = network("nearest", [1] * 95 + [0] * 5, seconds=9.5)
    far = network("far", [1] * 60 + [0] * 40, seconds=0.1)
    assert cheapest_within_error([best, nearest, near, far]) is near
    assert cheapest_within_error([best, nearest, far]) is best
    assert cheapest_within_error([best]) is best


def test_the_prior_is_published_accuracy_and_then_size():
    published = network("published", [1, 0], published=0.7, parameters=10)
    better = network("better", [1, 0], published=0.8, parameters=5)
    large = network("large", [1, 0], parameters=10**9)
    small = network("small", [1, 0], parameters=10)
    unknown = network("random", [1, 0], parameters=10**10, random=True)
    assert best_by_prior([published, better, large, unknown]) is better
    assert best_by_prior([small, large, unknown]) is large
    assert best_by_prior([unknown]) is None
