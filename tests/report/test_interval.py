"""The interval of a share, against Wilson's formula."""

import subprocess
import sys
from math import sqrt

import pytest

from transferkit.report.interval import wilson_interval


@pytest.mark.parametrize(("confidence", "z"), [(0.95, 1.959963984540054), (0.99, 2.5758293035489004)])
@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (0, 10), (10, 10), (7, 20), (359, 360), (1, 6149)])
def test_as_in_the_article(successes: int, n: int, confidence: float, z: float) -> None:
    share = successes / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    assert wilson_interval(successes, n, confidence) == pytest.approx((centre - half, centre + half), abs=1e-12)


def test_scipy_stats_is_imported_only_when_asked() -> None:
    code = "import sys, transferkit.report.interval; raise SystemExit('scipy.stats' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
