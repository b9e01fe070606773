"""Rows that are kept in memory only, found like those of the store."""

import numpy as np
import numpy.typing as npt

from transferkit.arrays import Rows
from transferkit.features.identities import Ids


class MemoryRows:
    """Rows of equal shape in one array, which is made once if it is known how many there will be."""

    def __init__(self) -> None:
        self._places: dict[bytes, int] = {}
        self._rows: Rows | None = None
        self._expected = 0

    def expect(self, count: int) -> None:
        """Make room for so many rows in all."""
        self._expected = count

    @property
    def rows(self) -> Rows:
        """All of them (n, ...), in the order in which they came."""
        assert self._rows is not None
        return self._rows[: len(self._places)]

    def find(self, ids: Ids) -> npt.NDArray[np.int64]:
        """The place of each row (N,); -1 for those that are not here."""
        places = self._places
        return np.fromiter((places.get(identity, -1) for identity in ids.tolist()), np.int64, len(ids))

    def append(self, shard: int, ids: Ids, rows: Rows) -> None:
        """Keep n more rows (n, ...)."""
        first, end = len(self._places), len(self._places) + len(rows)
        if self._rows is None or end > len(self._rows):
            grown = np.empty((max(self._expected, end, 2 * first), *rows.shape[1:]), rows.dtype)
            if self._rows is not None:
                grown[:first] = self._rows[:first]
            self._rows = grown
        self._rows[first:end] = rows
        self._places.update(zip(ids.tolist(), range(first, end), strict=True))

    def gather(self, ids: Ids) -> Rows:
        """The rows (N, ...) of these images, all of which are here, in this order; not copied where they lie so."""
        places = self.find(ids)
        return self.rows if np.array_equal(places, np.arange(len(self._places))) else self.rows[places]
