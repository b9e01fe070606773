"""Cached or computed anew, by the arithmetic of the costs."""

import pytest

from transferkit.features.placement import Storage, Work, choose_storage

# 100 rows of 1 MB, taken up 1000 times; 10 ms to compute one, 1 ms to write it.
WORK = Work(rows=100, reads=1000, row_bytes=10**6, compute_seconds=0.01, byte_seconds=1e-9)
SLOW = Work(rows=100, reads=1000, row_bytes=10**6, compute_seconds=0.01, byte_seconds=2e-8)
ONCE = Work(rows=100, reads=100, row_bytes=10**6, compute_seconds=0.01, byte_seconds=1e-9)


@pytest.mark.parametrize(
    ("work", "memory", "disk", "reusable", "cached", "on_disk"),
    [
        (WORK, 1e8, None, True, "memory", False),  # no cache
        (WORK, 1e8, 1e8, True, "memory", True),  # written for others: ten times cheaper than computing
        (WORK, 1e8, 1e8, False, "memory", False),  # nobody could use them
        (WORK, 1e8, 9e7, True, "memory", False),  # no room on the disk
        (SLOW, 1e8, 1e8, True, "memory", False),  # writing takes longer than computing
        (WORK, 9e7, 1e8, False, "disk", True),
        (WORK, 9e7, None, True, "no", False),
        (WORK, 9e7, 9e7, True, "no", False),
        (SLOW, 9e7, 1e8, True, "no", False),
        (ONCE, 9e7, 1e8, True, "no", False),  # each row is wanted only once
    ],
)
def test_where_rows_are_kept(
    work: Work, memory: float, disk: float | None, reusable: bool, cached: str, on_disk: bool
) -> None:
    chosen = choose_storage(work, memory, disk, reusable)
    assert chosen == Storage(cached, on_disk, chosen.why)
    assert chosen.why
