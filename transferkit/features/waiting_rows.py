"""Buffer of computed rows, which are written in large blocks, and when."""

import time
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from transferkit.arrays import Rows
from transferkit.features.identities import Ids, shards_of
from transferkit.features.store import CacheEntry, RowStore

KEEP_BYTES = 64_000_000
KEEP_SECONDS = 5.0


class WaitingRows:
    """Buffered rows by the name of their store.

    Args:
        stores: Stores by name.
    """

    def __init__(self, stores: Mapping[str, RowStore]) -> None:
        self._stores = stores
        self._rows: dict[str, list[tuple[Ids, Rows]]] = {name: [] for name in stores}
        self._ids: dict[str, set[bytes]] = {name: set() for name in stores}
        self.bytes = 0

    def has(self, name: str, ids: Ids) -> npt.NDArray[np.bool_]:
        """Whether the row of each image is buffered (n,)."""
        mine = self._ids[name]
        return np.fromiter((identity in mine for identity in ids.tolist()), np.bool_, len(ids))

    def add(self, name: str, ids: Ids, rows: Rows) -> None:
        """Buffer rows (n, ...)."""
        self._rows[name].append((ids, rows))
        self._ids[name].update(ids.tolist())
        self.bytes += rows.nbytes

    def write(self) -> dict[str, int]:
        """Write all rows to their stores; return the bytes written to disk by name.

        Raises:
            TransferkitError: They cannot be written; unwritten rows are dropped.
        """
        waiting, self._rows = self._rows, {name: [] for name in self._stores}
        self._ids, self.bytes = {name: set() for name in self._stores}, 0
        written = {}
        for name, parts in waiting.items():
            if parts:
                ids, rows = np.concatenate([ids for ids, _ in parts]), np.concatenate([rows for _, rows in parts])
                self._write(self._stores[name], ids, rows)
                written[name] = rows.nbytes if isinstance(self._stores[name], CacheEntry) else 0
        return written

    @staticmethod
    def _write(store: RowStore, ids: Ids, rows: Rows) -> None:
        if not isinstance(store, CacheEntry):
            store.append(0, ids, rows)
            return
        shards = shards_of(ids)
        for shard in np.unique(shards):
            mine = shards == shard
            store.append(int(shard), ids[mine], rows if mine.all() else rows[mine])


class Pace:
    """Decides when computed rows are written, which bounds the loss when a process is killed."""

    def __init__(self) -> None:
        self._at = time.monotonic()

    def due(self, waiting: int) -> bool:
        """Whether the bytes, or the time since the last write, require writing."""
        due = waiting >= KEEP_BYTES or time.monotonic() - self._at >= KEEP_SECONDS
        self._at = time.monotonic() if due else self._at
        return due
