"""Rows of many images gathered in one array, in memory or, if too large, in an unnamed file."""

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
"""Size above which an array is in a file."""

PIECE_BYTES = 16_000_000
"""Bytes copied at a time, which bounds the memory of the process for the rows read."""

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
        folder: Of the file for an array of more than `ram_bytes`. The file has no name, is removed with the array,
            and is allocated in full at the beginning, so that a full disk is detected at once.
        ram_bytes: Maximum bytes in memory.

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
            # Written rather than mapped: a full disk is then an error instead of a signal that ends the process.
            write_all(file.fileno(), out.reshape(-1).view(np.uint8).data)
        return np.memmap(file, first.dtype, "r", shape=shape)


def _reserve(descriptor: int, size: int, folder: Path) -> None:
    """Allocate the space on the disk."""
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return
        raise TransferkitError(
            f"The features of all images take {size / 1e9:.3g} GB, for which {folder} has no space "
            f"({error.strerror}). Free some space, or choose another folder with cache.dir=..."
        ) from error
