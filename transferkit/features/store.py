"""Rows on disk, computed once for each image: checksummed, memory-mapped, safe to kill and to share, bounded in size.

    <root>/.transferkit-cache             marks the folder as a cache: without it, nothing is ever removed
    <root>/<kind>/<key[:2]>/<key>/        one entry: rows computed in one way
        entry.json                        describes that way; its SHA-256 is the key, its time stamp the last use
        NN.rows, NN.index                 the rows of one of 32 shards, see `shard_file`
        pace.json                         the seconds that an image took, for the cost of jobs that find it here
        NN.lock                           held by the job that fills the shard
        use.lock                          shared by all jobs that use the entry, which therefore stays

Kinds: features (pooled, float32 (n, D)), activations (of a frozen stage), pixels (decoded, resized and
cropped).

Rows are found by the content of the image: another split, seed, folder or added images find what is there already. An
entry has the same number of files at any size, since rows are appended. (LMDB and HDF5 were weighed: the one takes one
writer at a time and does not work over NFS, neither notices damage to what it keeps.)
"""

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from transferkit.arrays import Rows
from transferkit.choices import SHARDS
from transferkit.errors import TransferkitError
from transferkit.features.claims import Use
from transferkit.features.gathered import RAM_BYTES, gather_rows
from transferkit.features.identities import Ids, shards_of
from transferkit.features.shard_blocks import Layout
from transferkit.features.shard_file import (
    Shard,
    append_rows,
    index_path,
    map_rows,
    mend_shard,
    read_row,
    read_shard,
    rows_path,
)
from transferkit.features.store_entries import (
    MANIFEST,
    entry_key,
    mark_root,
    read_manifest,
    remove_leftovers,
    shrink_cache,
)
from transferkit.files import new_file

log = logging.getLogger(__name__)

FORMAT = 3
"""Of the files of an entry; entries of others are not read."""


def default_cache_dir() -> Path:
    """`transferkit` in the user's cache folder: XDG_CACHE_HOME, else ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "transferkit"


class RowStore(Protocol):
    """Rows of equal shape, each for one image, on disk or in memory."""

    def find(self, ids: Ids) -> npt.NDArray[np.int64]:
        """The place of each row (N,); -1 for those that are not here."""

    def append(self, shard: int, ids: Ids, rows: Rows) -> None:
        """Keep n more rows (n, ...), all of one shard."""

    def gather(self, ids: Ids) -> Rows:
        """The rows (N, ...) of these images, all of which are here, at least one, in this order."""


class CacheEntry:
    """Rows on disk that were computed in one way.

    The indexes are read once, and again by `refresh`; no files are held open.

    Args:
        root: Of the cache.
        kind: Of the rows.
        description: All that determines them but the image, in plain values.
    """

    def __init__(self, root: Path, kind: str, description: Mapping[str, Any]) -> None:
        self._manifest = {**description, "store": FORMAT}
        key = entry_key(self._manifest)
        self.root = root
        self.folder = root / kind / key[:2] / key
        self._shards: dict[int, Shard] = {}
        self._use: Use | None = None

    @property
    def layout(self) -> Layout | None:
        """Of a row; None as long as none is known."""
        return next((shard.layout for shard in self._shards.values() if shard.layout), None)

    def open(self) -> None:
        """Read the index of every shard; counts as a use.

        Raises:
            TransferkitError: It cannot be read.
        """
        with explained(self.root, "read"):
            if self.folder.is_dir():
                with suppress(PermissionError, FileNotFoundError):  # the cache of somebody else, or just removed
                    self._use = self._use or Use(self.folder, make=False)
                with suppress(OSError):
                    os.utime(self.folder / MANIFEST)
            self._shards = {shard: read_shard(self.folder, shard) for shard in range(SHARDS)}

    def prepare(self) -> None:
        """Make the folder, with the manifest, so that rows can be written.

        Raises:
            TransferkitError: It cannot be written.
        """
        with explained(self.root, "written"):
            mark_root(self.root)
            self._use = self._use or Use(self.folder, make=True)
            if read_manifest(self.folder) is None:
                with new_file(self.folder / MANIFEST) as temporary:
                    temporary.write_text(json.dumps(self._manifest, indent=1), encoding="utf-8")

    def refresh(self, shard: int) -> None:
        """Read the rows that other jobs wrote, and repair the files of killed ones; for the job that claimed the shard.

        Raises:
            TransferkitError: It cannot be read or written.
        """
        with explained(self.root, "written"):
            found = read_shard(self.folder, shard)
            if found.lost:
                count = f"{found.lost} rows" if found.lost > 0 else "Rows"
                log.warning(
                    "Feature cache: %s in %s are damaged and will be recomputed.", count, rows_path(self.folder, shard)
                )
            mend_shard(self.folder, shard, found)
            remove_leftovers(self.folder, index_path(self.folder, shard).name)
            self._shards[shard] = found

    def find(self, ids: Ids) -> npt.NDArray[np.int64]:
        """The place of each row (N,) in its shard; -1 for those that are not here."""
        shards = shards_of(ids)
        places = np.full(len(ids), -1)
        for number in np.unique(shards):
            mine = np.flatnonzero(shards == number)
            if int(number) in self._shards:
                places[mine] = self._shards[int(number)].find(ids[mine])
        return places

    def append(self, shard: int, ids: Ids, rows: Rows) -> None:
        """Keep n more rows (n, ...) of a shard that was claimed.

        Raises:
            TransferkitError: They cannot be written; or the entry has rows of another shape.
        """
        layout = self.layout
        if layout is not None and layout != Layout.of(rows):
            raise TransferkitError(
                f"The cache entry {self.folder} holds rows of another shape ({layout.encode().decode()}); remove it "
                f"with task=cache cache.clear={self.folder.name[:12]}."
            )
        with explained(self.root, "written"):
            block = append_rows(self.folder, shard, ids, rows)
            with suppress(FileNotFoundError):
                os.utime(self.folder / MANIFEST)
            self._shards[shard] = self._shards[shard].with_block(block)

    def gather(self, ids: Ids, ram_bytes: float = RAM_BYTES) -> Rows:
        """The rows (N, ...) of these images, all of which are here, at least one, in this order.

        What would take more than `ram_bytes` is memory-mapped, from a file that vanishes with the array: the system
        keeps in memory what it can and what is used.

        Raises:
            TransferkitError: They cannot be read, or the disk is full.
        """
        with explained(self.root, "read"):
            return gather_rows(shards_of(ids), self.find(ids), self.map, self.root, ram_bytes)

    def row(self, shard: int, place: int, layout: Layout) -> Rows:
        """The row at a place that `find` gave; in a process that may have been started before it was written.

        Raises:
            TransferkitError: It cannot be read.
        """
        with explained(self.root, "read"):
            return read_row(self.folder, shard, place, layout)

    def map(self, shard: int) -> Rows:
        """The rows (n, ...) of a shard, memory-mapped; some may be damaged, which `find` does not give."""
        return map_rows(self.folder, shard, self._shards[shard])


class FeatureCache:
    """A folder of entries.

    Args:
        root: Where; made when something is first kept.
        max_gb: Size in gigabytes (10^9 bytes) beyond which the least recently used entries are evicted, except
            those in use by any process.
    """

    def __init__(self, root: Path | str, max_gb: float = 20) -> None:
        self.root = Path(root)
        self.max_gb = max_gb
        self._entries: dict[Path, CacheEntry] = {}

    def entry(self, description: Mapping[str, Any], kind: str = "features") -> CacheEntry:
        """The entry for rows of some kind computed as `description` (plain values) says.

        Once opened or prepared it stays in use as long as this cache lives.
        """
        entry = CacheEntry(self.root, kind, description)
        return self._entries.setdefault(entry.folder, entry)

    def shrink(self) -> None:
        """Remove the entries used least recently until the size is within `max_gb`."""
        shrink_cache(self.root, self.max_gb)


@contextmanager
def explained(folder: Path, what: str) -> Iterator[None]:
    """An error of the system, such as too many open files or a full disk, as one message; it is never damage."""
    try:
        yield
    except TransferkitError:
        raise
    except (OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise TransferkitError(
            f"The feature cache {folder} cannot be {what}: {reason}. "
            "Choose another folder with cache.dir=..., or keep features in memory with cache.enabled=false."
        ) from error
