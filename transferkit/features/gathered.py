"""Rows of many images in one array, in memory or, where that would take too much, in a file without a name."""

import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from transferkit.arrays import Rows, release_pages
from transferkit.errors import TransferkitError
from transferkit.files import write_all

RAM_BYTES = 256_000_000
"""An array that takes more lies in a file."""

PIECE_BYTES = 16_000_000
"""Of an array, filled at a time: no more of the rows that are read counts as memory of this process."""

PREFIX = ".gathered-"

_UNSUPPORTED = {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}


def gather_rows(
    shards: npt.NDArray[np.int64],
    places: npt.NDArray[np.int64],
    rows_of: Callable[[int], Rows],
    folder: Path,
    ram_bytes: float = RAM_BYTES,
) -> Rows:
    """Copy rows of memory-mapped shards into one array.

    Args:
        shards: (N,), at least one.
        places: (N,): the row in its shard.
        rows_of: The rows (n, ...) of a shard.
        folder: Where the file lies that takes an array of more than `ram_bytes`. It has no name, vanishes with the
            array, and is as large as it will be from the beginning, so that a full disk is noticed at once.
        ram_bytes: Bytes that may lie in memory.

    Raises:
        TransferkitError: The disk is full.
    """
    maps = {int(shard): rows_of(int(shard)) for shard in np.unique(shards)}
    first = maps[int(shards[0])]
    shape, row_bytes = (len(places), *first.shape[1:]), first[:1].nbytes
    piece = max(PIECE_BYTES // row_bytes, 1)

    def fill(out: Rows, start: int) -> None:
        for shard in np.unique(part := shards[start : start + len(out)]):
            mine = np.flatnonzero(part == shard)
            out[mine] = maps[shard][places[start + mine]]
            release_pages(maps[shard])

    if len(places) * row_bytes <= ram_bytes:
        array: Rows = np.empty(shape, first.dtype)
        for start in range(0, len(places), piece):
            fill(array[start : start + piece], start)
        return array
    with tempfile.TemporaryFile(dir=folder, prefix=PREFIX, buffering=0) as file:
        _reserve(file.fileno(), len(places) * row_bytes, folder)
        buffer: Rows = np.empty((piece, *shape[1:]), first.dtype)
        for start in range(0, len(places), piece):
            out = buffer[: len(places) - start]
            fill(out, start)
            # Written rather than mapped: a full disk is then an error, and no signal that ends the process.
            write_all(file.fileno(), out.reshape(-1).view(np.uint8).data)
        return np.memmap(file, first.dtype, "r", shape=shape)


def _reserve(descriptor: int, size: int, folder: Path) -> None:
    """Take the room on the disk."""
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return
        raise TransferkitError(
            f"The features of all images take {size / 1e9:.3g} GB, for which {folder} has no room "
            f"({error.strerror}). Make room there, or choose another folder with cache.dir=..."
        ) from error
