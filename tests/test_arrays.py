"""Pages read from a file can be released from the memory of the process."""

import sys
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from transferkit.arrays import release_pages


def resident(name: str) -> int:
    """Kilobytes of a mapped file that are in memory."""
    maps = Path("/proc/self/smaps").read_text().split(name, 1)[1]
    return int(maps.split("Rss:", 1)[1].split()[0])


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason=f"{sys.platform} does not tell")
def test_pages_leave_and_come_back(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(4000, 100)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    assert mapped.sum() == pytest.approx(rows.sum(), abs=1)
    assert resident("rows.npy") >= 1500
    release_pages(np.asarray(mapped[10:20]))
    assert resident("rows.npy") < 100
    np.testing.assert_array_equal(mapped, rows)


@pytest.mark.parametrize("mode", ["c", "r+"])
def test_what_was_written_stays(tmp_path: Path, mode: Literal["c", "r+"]) -> None:
    np.save(tmp_path / "rows.npy", np.zeros((100, 100)))
    mapped = np.load(tmp_path / "rows.npy", mmap_mode=mode)
    mapped[:] = 1
    release_pages(mapped)
    assert mapped.sum() == 10000
    release_pages(np.zeros(3))
