"""Rows of one entry of the cache while more of them are computed."""

from collections.abc import Sequence

import numpy as np

from transferkit.cache import CacheEntry, RowIndex, Rows


class GrowingRows:
    """Rows that are kept, in the cache or in memory, and those computed since.

    Args:
        entry: Where they are kept; None for memory.
    """

    def __init__(self, entry: CacheEntry | None) -> None:
        self.entry = entry
        self.index = RowIndex()
        self._new: dict[str, Rows] = {}

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

    def __len__(self) -> int:
        """How many rows wait to be kept."""
        return len(self._new)

    def keep(self) -> int:
        """Keep what was computed; returns the bytes written."""
        if not self._new:
            return 0
        ids, rows = list(self._new), np.stack(list(self._new.values()))
        self._new = {}
        self.index.add(self.entry.write(ids, rows) if self.entry else (ids, rows))
        return rows.nbytes if self.entry else 0
