"""Rows of one entry of the cache while more of them are computed."""

import time
from collections.abc import Sequence

import numpy as np

from transferkit.features.store import CacheEntry, RowIndex, Rows

KEEP_BYTES = 64_000_000
KEEP_SECONDS = 5.0


class Pace:
    """Says when computed rows are to be kept: no more than this is lost with a killed process."""

    def __init__(self) -> None:
        self._at = time.monotonic()

    def due(self, waiting: int) -> bool:
        """Whether so many bytes, or so long a time since it last was so, are enough."""
        due = waiting >= KEEP_BYTES or time.monotonic() - self._at >= KEEP_SECONDS
        self._at = time.monotonic() if due else self._at
        return due


class GrowingRows:
    """Rows that are kept, in the cache or in memory, and those computed since.

    Args:
        entry: Where they are kept; None for memory.
    """

    def __init__(self, entry: CacheEntry | None) -> None:
        self.entry = entry
        self.index = RowIndex()
        self._new: dict[str, Rows] = {}
        self.waiting = 0  # bytes that are not kept yet

    def __contains__(self, identity: str) -> bool:
        return identity in self.index or identity in self._new

    def read(self, clean: bool = False) -> None:
        """Know what is in the cache; `clean` (under its lock) also mends it."""
        self.index = RowIndex()
        if self.entry:
            for chunk in self.entry.clean() if clean else self.entry.read():
                self.index.add(chunk)

    def add(self, ids: Sequence[str], rows: Rows) -> None:
        """Take up computed rows (n, ...); they wait to be kept."""
        self._new.update(zip(ids, rows, strict=True))
        self.waiting += rows.nbytes

    def keep(self) -> int:
        """Keep what was computed; returns the bytes written."""
        if not self._new:
            return 0
        ids, rows = list(self._new), np.stack(list(self._new.values()))
        self._new, self.waiting = {}, 0
        self.index.add(self.entry.write(ids, rows) if self.entry else (ids, rows))
        return rows.nbytes if self.entry else 0
