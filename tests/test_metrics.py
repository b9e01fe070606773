import subprocess
import sys
from dataclasses import astuple
from math import sqrt

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, log_loss, top_k_accuracy_score
from torchmetrics.functional.classification import multiclass_calibration_error

from tests.report.conftest import predictions
from transferkit.metrics import compute_metrics, ece, reliability_bins, wilson_interval


def random_predictions(n: int, k: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(k), rng.integers(0, k, n - k)])
    logits = rng.normal(size=(n, k)) + 2.0 * np.eye(k)[labels] * rng.random((n, 1))
    exp = np.exp(2 * logits)
    return exp / exp.sum(axis=1, keepdims=True), labels


@pytest.mark.parametrize(("n", "k"), [(300, 7), (80, 30), (50, 6)])
def test_agrees_with_scikit_learn_and_torchmetrics(n, k):
    probabilities, labels = random_predictions(n, k)
    got = compute_metrics(probabilities, labels)
    assert got["n"] == n
    assert got["top1"] == pytest.approx((probabilities.argmax(axis=1) == labels).mean())
    assert got["top5"] == pytest.approx(top_k_accuracy_score(labels, probabilities, k=5))
    assert got["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, probabilities.argmax(axis=1)))
    assert got["nll"] == pytest.approx(log_loss(labels, probabilities))
    reference = multiclass_calibration_error(
        torch.tensor(probabilities), torch.tensor(labels), num_classes=k, n_bins=15
    )
    assert got["ece"] == pytest.approx(float(reference), abs=1e-6)


def test_ece_by_hand():
    # Two rows in the bin of 0.9 (one right), two in the bin of 0.6 (both right): 2/4 * 0.4 + 2/4 * 0.4.
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    assert compute_metrics(probabilities, np.array([0, 1, 0, 0]))["ece"] == pytest.approx(0.4)


def test_few_classes_make_top5_one():
    probabilities, labels = random_predictions(20, 3)
    assert compute_metrics(probabilities, labels)["top5"] == 1.0


def test_classes_absent_from_the_split_do_not_count():
    probabilities = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1]])
    assert compute_metrics(probabilities, np.array([0, 1, 1]))["balanced_accuracy"] == pytest.approx(0.75)


def test_ties_are_broken_as_by_argmax():
    assert compute_metrics(np.full((2, 8), 1 / 8), np.array([0, 7]))["top1"] == 0.5
    assert compute_metrics(np.full((2, 8), 1 / 8), np.array([4, 5]))["top5"] == 0.5


def test_certain_and_wrong_stays_finite():
    assert np.isfinite(compute_metrics(np.array([[1.0, 0.0]]), np.array([1]))["nll"])


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        (np.empty((0, 2)), np.empty(0, dtype=int), "N > 0"),
        (np.ones((3, 2)) / 2, np.array([0, 1]), r"\(N, K\)"),
        (np.ones((2, 2)) / 2, np.array([0, 2]), "from 0 to 1"),
        (np.ones((2, 2)) / 2, np.array([0.0, 1.0]), "class indices"),
        (np.array([[np.nan, 1.0]]), np.array([0]), "finite"),
    ],
)
def test_wrong_input_is_an_error(probabilities, labels, message):
    with pytest.raises(ValueError, match=message):
        compute_metrics(probabilities, labels)


def test_gaps_add_up_to_the_calibration_error():
    labels = np.arange(500) % 4
    probabilities = predictions(labels, 4)
    bins = reliability_bins(probabilities, labels)
    gaps = sum(b.count * abs(b.accuracy - b.confidence) for b in bins)
    assert gaps / 500 == pytest.approx(ece(probabilities, labels), abs=1e-6)
    assert sum(b.count for b in bins) == 500
    assert all(b.lower < b.confidence <= b.upper for b in bins)


def test_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.3, 0.7], [0.25, 0.75]])
    low, high = reliability_bins(probabilities, np.array([1, 1, 0]), bins=5)
    assert astuple(low) == pytest.approx((0.6, 0.8, 2, 0.725, 0.5))
    assert astuple(high) == pytest.approx((0.8, 1.0, 1, 0.9, 0.0))


def test_a_confidence_on_an_edge_belongs_to_the_bin_below():
    probabilities = np.array([[0.5, 0.5], [0.75, 0.25], [1.0, 0.0]])
    bins = reliability_bins(probabilities, np.array([0, 0, 0]), bins=4)
    assert [(b.lower, b.upper, b.confidence) for b in bins] == [(0.25, 0.5, 0.5), (0.5, 0.75, 0.75), (0.75, 1, 1)]


@pytest.mark.parametrize(("confidence", "z"), [(0.95, 1.959963984540054), (0.99, 2.5758293035489004)])
@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (0, 10), (10, 10), (7, 20), (359, 360), (1, 6149)])
def test_as_in_the_article(successes: int, n: int, confidence: float, z: float) -> None:
    share = successes / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    assert wilson_interval(successes, n, confidence) == pytest.approx((centre - half, centre + half), abs=1e-12)


def test_scipy_stats_is_imported_only_when_asked() -> None:
    code = "import sys, transferkit.metrics; raise SystemExit('scipy.stats' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
