"""Computed once for each image, on disk: content-addressed, memory-mapped, safe to kill and to share, bounded in size.

    <root>/.transferkit-cache             marks the folder as a cache: without it, nothing is ever removed
    <root>/<kind>/<key[:2]>/<key>/        one entry: all that determines the values but the image
        entry.json                        the same for people; its time stamp is the last use
        <uuid>.npy                        rows, (n, ...)
        <uuid>.json                       the identity of the image of each row, and a checksum; written last
    <root>/<kind>/<key[:2]>/<key>.lock    held by the job that computes rows of the entry

Kinds: features (pooled, float32 (n, D)), activations (what leaves a frozen stage), pixels (decoded, resized and
cropped).

Files never change once they have their names, so readers need no lock. Rows are found by the content of the image:
another split, seed, folder or added images find what is there already.
"""

import json
import logging
import math
import os
import sys
import tempfile
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import Timeout

from transferkit.errors import TransferkitError
from transferkit.features.store_entries import (
    entry_folders,
    entry_key,
    entry_lock,
    entry_size,
    last_use,
    mark_root,
    remove_entry,
)
from transferkit.files import new_file

log = logging.getLogger(__name__)

Rows = npt.NDArray[Any]
Chunk = tuple[Sequence[str], Rows]
"""Identities of n images, and their rows (n, ...)."""

GIGABYTE = 10**9

RAM_BYTES = 256_000_000
"""Gathered rows that take more lie in a file."""


def default_cache_dir() -> Path:
    """`transferkit` in the user's cache folder: XDG_CACHE_HOME, else ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "transferkit"


class CacheEntry:
    """Rows that were computed in one way, each for one image."""

    def __init__(self, folder: Path, description: Mapping[str, Any]) -> None:
        self.folder = folder
        self._description = description

    def read(self) -> list[Chunk]:
        """All intact chunks, memory-mapped; others do not exist. Counts as a use."""
        with suppress(OSError):
            os.utime(self.folder / "entry.json")
        return [chunk for _, chunk in self._chunks()]

    def clean(self) -> list[Chunk]:
        """Like `read`, and remove damaged chunks and what a killed writer left; needs the lock."""
        intact = dict(self._chunks())
        for path in self.folder.glob("*"):
            if path.name != "entry.json" and path.name.split(".")[0] not in intact:
                if path.suffix == ".json":
                    log.warning("Feature cache: %s is damaged; its rows are computed anew.", path.with_suffix(".npy"))
                path.unlink(missing_ok=True)
        return list(intact.values())

    def write(self, ids: Sequence[str], rows: Rows) -> Chunk:
        """Keep n rows; needs the lock.

        Returns:
            The same chunk, memory-mapped.

        Raises:
            TransferkitError: It cannot be written.
        """
        name = self.folder / uuid.uuid4().hex
        rows = np.ascontiguousarray(rows)
        kind = {"dtype": rows.dtype.str, "shape": rows.shape}
        index = {"crc32": zlib.crc32(rows.data), **kind, "ids": list(ids)}
        with _needs_writing(self.folder):
            mark_root(self.folder.parents[2])
            self.folder.mkdir(parents=True, exist_ok=True)
            if not (self.folder / "entry.json").exists():
                _write(self.folder / "entry.json", json.dumps(self._description, indent=1).encode())
            with new_file(name.with_suffix(".npy")) as temporary, temporary.open("wb") as file:
                np.save(file, rows)
            _write(name.with_suffix(".json"), json.dumps(index).encode())
        return ids, np.load(name.with_suffix(".npy"), mmap_mode="r")

    def _chunks(self) -> Iterator[tuple[str, Chunk]]:
        for path in sorted(self.folder.glob("*.json")):
            # It may be damaged in any way, so that reading it may fail in any way; or another job has just removed it.
            with suppress(Exception):
                index = json.loads(path.read_bytes())
                rows = np.load(path.with_suffix(".npy"), mmap_mode="r")
                whole = (rows.dtype.str, list(rows.shape)) == (index["dtype"], index["shape"])
                if whole and len(rows) == len(index["ids"]) and zlib.crc32(rows.data) == index["crc32"]:
                    yield path.stem, (index["ids"], rows)


class FeatureCache:
    """A folder of entries.

    Args:
        root: Where; made when something is first kept.
        max_gb: Size in gigabytes (10^9 bytes) beyond which the entries used least recently leave. Entries that this
            process used, or any process computes, stay.
    """

    def __init__(self, root: Path | str, max_gb: float = 20) -> None:
        self.root = Path(root)
        self.max_gb = max_gb
        self._used: set[Path] = set()

    def entry(self, description: Mapping[str, Any], kind: str = "features") -> CacheEntry:
        """The entry for rows of some kind computed as `description` (plain values) says."""
        key = entry_key(description)
        folder = self.root / kind / key[:2] / key
        self._used.add(folder)
        return CacheEntry(folder, description)

    @contextmanager
    def locked(self, entries: Iterable[CacheEntry]) -> Iterator[None]:
        """Be the only job that computes rows of these entries; waits, and says so, while another one does.

        Raises:
            TransferkitError: The folder cannot be written.
        """
        with ExitStack() as stack:
            for folder in sorted(entry.folder for entry in entries):  # one order for all jobs, so none wait in a circle
                with _needs_writing(self.root):
                    folder.parent.mkdir(parents=True, exist_ok=True)
                    lock = entry_lock(folder)
                    try:
                        lock.acquire(timeout=0)
                    except Timeout:
                        log.info("Waiting for another job, which computes the same features.")
                        lock.acquire()
                stack.callback(lock.release)
            yield

    def shrink(self) -> None:
        """Remove the entries used least recently until the size is within `max_gb`."""
        entries = [(last_use(folder), entry_size(folder), folder) for folder in entry_folders(self.root)]
        excess = sum(size for _, size, _ in entries) - self.max_gb * GIGABYTE
        for _, size, folder in sorted(entries):
            if excess <= 0:
                return
            if folder not in self._used and remove_entry(folder):
                log.info("Feature cache: removed %s, used least recently (cache.max_gb=%g).", folder, self.max_gb)
                excess -= size


class RowIndex:
    """Where the row of each image lies, over many chunks."""

    def __init__(self) -> None:
        self._chunks: list[Rows] = []
        self._starts: list[int] = []
        self._places: dict[str, int] = {}  # over all chunks, one after the other

    def add(self, chunk: Chunk) -> None:
        """Know n more rows."""
        ids, rows = chunk
        start = self._starts[-1] + len(self._chunks[-1]) if self._chunks else 0
        self._places.update((sys.intern(identity), start + i) for i, identity in enumerate(ids))  # stages share them
        self._chunks.append(rows)
        self._starts.append(start)

    def __contains__(self, identity: str) -> bool:
        return identity in self._places

    def gather(self, ids: Sequence[str], ram_bytes: int = RAM_BYTES) -> Rows:
        """The rows (N, ...) of these images, at least one, in this order.

        What would take more than `ram_bytes` is memory-mapped, from a file that vanishes with the array: the system
        keeps in memory what it can and what is used.
        """
        places = np.fromiter((self._places[identity] for identity in ids), dtype=np.int64, count=len(ids))
        numbers = np.searchsorted(self._starts, places, side="right") - 1
        first = self._chunks[numbers[0]]
        shape, kind = (len(ids), *first.shape[1:]), first.dtype
        if math.prod(shape) * kind.itemsize <= ram_bytes:
            out: Rows = np.empty(shape, kind)
            self._fill(out, places, numbers)
            return out
        with tempfile.TemporaryFile() as file:
            self._fill(np.memmap(file, kind, "w+", shape=shape), places, numbers)
            return np.memmap(file, kind, "r", shape=shape)

    def _fill(self, out: Rows, places: npt.NDArray[np.int64], numbers: npt.NDArray[np.int64]) -> None:
        """Copy rows, chunk by chunk: where they lie over all chunks, and the number of their chunk."""
        order = np.argsort(numbers, kind="stable")
        for mine in np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1):
            number = numbers[mine[0]]
            out[mine] = self._chunks[number][places[mine] - self._starts[number]]


def _write(path: Path, content: bytes) -> None:
    with new_file(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def _needs_writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TransferkitError(
            f"The feature cache {folder} cannot be written: {error.strerror or error}. "
            "Choose another folder with cache.dir=..., or keep features in memory with cache.enabled=false."
        ) from error
