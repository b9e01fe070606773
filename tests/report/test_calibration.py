from dataclasses import astuple

import numpy as np
import pytest

from tests.report.conftest import predictions
from transferkit.metrics import ece
from transferkit.report.calibration import reliability_bins


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
