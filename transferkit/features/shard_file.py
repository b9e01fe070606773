"""One shard of an entry: a file of rows and its index, both appended to by one job at a time and read by any.

    NN.rows     rows of equal size, one after the other
    NN.index    blocks, see `shard_blocks`; appended after the rows that they describe

Nothing is synchronised with the disk: the checksums cover identities and rows, so rows that a power cut took are
missing, never wrong, and are computed anew. (The 64 files of an entry would take 64 times a few milliseconds.)
"""

import os
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path

import numpy as np
import numpy.typing as npt

from transferkit.arrays import Rows
from transferkit.features.identities import ID_BYTES, Ids
from transferkit.features.shard_blocks import Block, Layout, make_block, parse_index
from transferkit.files import new_file, write_all

_PIECE = 4_000_000
"""Bytes that are read at a time to verify them."""

_SETTLED = 100_000_000
"""Nanoseconds. A file that changed less long ago may change again without another time stamp: it is verified anew."""


@dataclass(frozen=True)
class Shard:
    """The content of a shard.

    Attributes:
        ids: Of the rows, sorted.
        places: The row of each.
        layout: Of the rows; None where there are none.
        end: One after the last intact row.
        lost: Rows that are damaged, and not written anew yet; -1 where nobody knows how many.
        damaged: Whether anything is.
        blocks: The intact ones.
    """

    ids: Ids
    places: npt.NDArray[np.int64]
    layout: Layout | None
    end: int
    lost: int
    damaged: bool
    blocks: Sequence[Block]

    def find(self, ids: Ids) -> npt.NDArray[np.int64]:
        """The position of the row of each identity (n,); -1 for those without a row."""
        if not len(self.ids):
            return np.full(len(ids), -1)
        where = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[where] == ids, self.places[where], -1)

    def with_block(self, block: Block) -> "Shard":
        """The same with rows that were just appended."""
        ids, places = np.concatenate([block.ids, self.ids]), np.concatenate([block.places, self.places])
        unique, first = np.unique(ids, return_index=True)
        return replace(self, ids=unique, places=places[first], layout=block.layout, end=block.end)


@dataclass
class _Verified:
    """Which blocks were found intact in a file of rows that did not change since."""

    mark: tuple[int, int, int]
    intact: dict[tuple[int, int, int], bool]


_verified: dict[Path, _Verified] = {}


def rows_path(folder: Path, shard: int) -> Path:
    """The file of rows."""
    return folder / f"{shard:02}.rows"


def index_path(folder: Path, shard: int) -> Path:
    """The index."""
    return folder / f"{shard:02}.index"


def read_shard(folder: Path, shard: int) -> Shard:
    """Read the intact part of a shard. Rows that this process verified before are not read again.

    Raises:
        OSError: It cannot be read; a missing file is no error but holds nothing.
    """
    try:
        index = index_path(folder, shard).read_bytes()
    except FileNotFoundError:
        index = b""
    blocks, damaged = parse_index(index)
    intact = _intact_rows(rows_path(folder, shard), blocks)
    layout = next((b.layout for b, good in zip(reversed(blocks), reversed(intact), strict=True) if good), None)
    good = [block for block, rows in zip(blocks, intact, strict=True) if rows and block.layout == layout]
    bad = [block for block, rows in zip(blocks, intact, strict=True) if not (rows and block.layout == layout)]
    ids, places = _last_of_each(good)
    lost = -1 if damaged else sum(int(np.isin(block.ids, ids, invert=True).sum()) for block in bad)
    end = max((block.end for block in good), default=0)
    return Shard(ids, places, layout, end, lost, bool(bad) or damaged, good)


def append_rows(folder: Path, shard: int, ids: Ids, rows: Rows) -> Block:
    """Append rows (n, ...), n at least 1, for the one job that may.

    Raises:
        OSError: They cannot be written; what was there before is as it was.
    """
    rows = np.ascontiguousarray(rows)
    row_bytes = Layout.of(rows).row_bytes
    path = rows_path(folder, shard)
    before = path.stat().st_size if path.exists() else 0
    first = -(-before // row_bytes)
    block = make_block(first, ids, rows)
    _append(path, first * row_bytes, rows.reshape(-1).view(np.uint8).data)
    try:
        index = index_path(folder, shard)
        _append(index, index.stat().st_size if index.exists() else 0, block.content)
    except BaseException:
        os.truncate(path, before)
        raise
    return block


def mend_shard(folder: Path, shard: int, found: Shard) -> None:
    """Cut off the incomplete end that a killed writer left, and take damaged blocks out of the index.

    Only for the job that claimed the shard.

    Raises:
        OSError: It cannot be written.
    """
    index, path = index_path(folder, shard), rows_path(folder, shard)
    content = b"".join(block.content for block in found.blocks)
    if index.exists() and index.stat().st_size != len(content):
        with new_file(index) as temporary:
            temporary.write_bytes(content)
    # Beside damage nothing is cut: what is not known to be unused may be mapped by a reader.
    if not found.damaged and path.exists():
        end = found.end * (found.layout.row_bytes if found.layout else 0)
        if path.stat().st_size > end:
            os.truncate(path, end)


def read_row(folder: Path, shard: int, place: int, layout: Layout) -> Rows:
    """One row.

    Raises:
        OSError: It cannot be read.
    """
    row = np.empty(layout.shape, layout.dtype)
    with rows_path(folder, shard).open("rb", buffering=0) as file:
        file.seek(place * layout.row_bytes)
        if file.readinto(row.reshape(-1).view(np.uint8).data) != row.nbytes:
            raise OSError(f"{file.name} ends too early")
    return row


def map_rows(folder: Path, shard: int, found: Shard) -> Rows:
    """All rows up to the last known one (n, ...), memory-mapped; n is 0 where there are none."""
    if found.layout is None:
        return np.empty((0,))
    shape = (found.end, *found.layout.shape)
    return np.memmap(rows_path(folder, shard), found.layout.dtype, "r", shape=shape)


def _append(path: Path, start: int, content: bytes | memoryview) -> None:
    """Write at the end; of a file that cannot take it all, no more than there was stays."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        before = os.fstat(descriptor).st_size
        try:
            os.lseek(descriptor, start, os.SEEK_SET)
            write_all(descriptor, content)
        except BaseException:
            os.ftruncate(descriptor, before)
            raise
    finally:
        os.close(descriptor)


def _last_of_each(blocks: Sequence[Block]) -> tuple[Ids, npt.NDArray[np.int64]]:
    """Identities, sorted, and the row of each; of rows that were written twice, the later one."""
    if not blocks:
        return np.empty(0, f"S{ID_BYTES}"), np.empty(0, np.int64)
    ids = np.concatenate([block.ids for block in reversed(blocks)])
    places = np.concatenate([block.places for block in reversed(blocks)])
    unique, first = np.unique(ids, return_index=True)
    return unique, places[first]


def _intact_rows(path: Path, blocks: Sequence[Block]) -> list[bool]:
    """Whether the rows of each block are intact."""
    if not blocks:
        return []
    try:
        with path.open("rb", buffering=0) as file:
            state = os.fstat(file.fileno())
            known = _verified.get(path)
            intact = known.intact if known and known.mark == _mark(state) else {}
            results = []
            for block in blocks:
                key = block.first, len(block.ids), block.checksum
                good = intact[key] if key in intact else _checksum(file, block) == block.checksum
                results.append(good)
    except FileNotFoundError:
        return [False] * len(blocks)
    if time.time_ns() - state.st_mtime_ns > _SETTLED:
        intact = {(b.first, len(b.ids), b.checksum): good for b, good in zip(blocks, results, strict=True)}
        _verified[path] = _Verified(_mark(state), intact)
    return results


def _mark(state: os.stat_result) -> tuple[int, int, int]:
    """Inode, size and time stamp, which differ once a file was replaced or written to."""
    return state.st_ino, state.st_size, state.st_mtime_ns


def _checksum(file: FileIO, block: Block) -> int | None:
    """The checksum of the identities and of the rows that are there now; None where the file is too short."""
    row_bytes = block.layout.row_bytes
    file.seek(block.first * row_bytes)
    left, sum_ = len(block.ids) * row_bytes, zlib.crc32(block.ids.tobytes())
    piece = memoryview(bytearray(min(left, _PIECE)))
    while left:
        count = file.readinto(piece[: min(left, len(piece))])
        if not count:
            return None
        sum_ = zlib.crc32(piece[:count], sum_)
        left -= count
    return sum_
