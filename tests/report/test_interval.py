import pytest
from scipy.stats import binomtest

from transferkit.report.interval import wilson_interval


@pytest.mark.parametrize(("successes", "n"), [(147, 153), (0, 1), (1, 1), (0, 40), (40, 40), (1, 3), (6000, 6149)])
def test_agrees_with_scipy(successes, n):
    reference = binomtest(successes, n).proportion_ci(method="wilson")
    assert wilson_interval(successes, n) == pytest.approx((reference.low, reference.high), abs=1e-12)


def test_other_confidence():
    reference = binomtest(7, 20).proportion_ci(0.99, method="wilson")
    assert wilson_interval(7, 20, z=2.5758293035489004) == pytest.approx((reference.low, reference.high))
