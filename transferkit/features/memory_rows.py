"""Rows in memory only, with the interface of the store."""

import numpy as np
import numpy.typing as npt

from transferkit.arrays import Rows
from transferkit.features.identities import Ids


class MemoryRows:
    """Rows of equal shape in one array, allocated once if their number is known."""

    def __init__(self) -> None:
        self._places: dict[bytes, int] = {}
        self._rows: Rows | None = None
        self._expected = 0

    def expect(self, count: int) -> None:
        """Allocate space for a total number of rows."""
        self._expected = count

    @property
    def rows(self) -> Rows:
        """All rows (n, ...), in the order in which they were added."""
        assert self._rows is not None
        return self._rows[: len(self._places)]

    def find(self, ids: Ids) -> npt.NDArray[np.int64]:
        """The index of each row (N,); -1 for missing ones."""
        places = self._places
        return np.fromiter((places.get(identity, -1) for identity in ids.tolist()), np.int64, len(ids))

    def append(self, shard: int, ids: Ids, rows: Rows) -> None:
        """Add n rows (n, ...)."""
        first, end = len(self._places), len(self._places) + len(rows)
        if self._rows is None or end > len(self._rows):
            grown = np.empty((max(self._expected, end, 2 * first), *rows.shape[1:]), rows.dtype)
            if self._rows is not None:
                grown[:first] = self._rows[:first]
            self._rows = grown
        self._rows[first:end] = rows
        self._places.update(zip(ids.tolist(), range(first, end), strict=True))

    def gather(self, ids: Ids) -> Rows:
        """The rows (N, ...) of these images, all of which must exist, in this order; without a copy if possible."""
        places = self.find(ids)
        return self.rows if np.array_equal(places, np.arange(len(self._places))) else self.rows[places]
