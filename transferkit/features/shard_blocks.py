"""The index of a shard: a block for each time that rows were appended, with identities and checksums."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from transferkit.arrays import Rows
from transferkit.features.identities import ID_BYTES, Ids

MAGIC = b"tkrows3\n"

_HEADER = struct.Struct("<8sQII64s")
"""Magic, first row, number of rows, checksum of identities and rows, layout; then the checksum of all this and of the
identities, then the identities."""

_START = _HEADER.size + 4


@dataclass(frozen=True)
class Layout:
    """The layout of a row on disk.

    Attributes:
        dtype: NumPy's name, with the byte order.
        shape: Of one row.
    """

    dtype: str
    shape: tuple[int, ...]

    @classmethod
    def of(cls, rows: Rows) -> "Layout":
        """The layout of rows (n, ...)."""
        return cls(rows.dtype.str, rows.shape[1:])

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize

    def encode(self) -> bytes:
        """As text, for a header."""
        return f"{self.dtype} {'x'.join(map(str, self.shape))}".encode()

    @classmethod
    def decode(cls, text: bytes) -> "Layout":
        """Read a block that `encode` wrote.

        Raises:
            ValueError: It is something else.
        """
        dtype, _, sides = text.rstrip(b"\0").decode("ascii").partition(" ")
        layout = cls(np.dtype(dtype).str, tuple(int(side) for side in sides.split("x") if side))
        if np.dtype(dtype).kind not in "biuf" or layout.row_bytes <= 0:
            raise ValueError(f"not numbers: {text!r}")
        return layout


@dataclass(frozen=True)
class Block:
    """Some rows, appended at once.

    Attributes:
        first: The first row, counted from the beginning of the file of rows.
        ids: Of each row.
        checksum: Of identities and rows together, so that neither can be exchanged.
        layout: Of the rows.
        content: The block as stored in the index.
    """

    first: int
    ids: Ids
    checksum: int
    layout: Layout
    content: bytes

    @property
    def end(self) -> int:
        """One after the last row."""
        return self.first + len(self.ids)

    @property
    def places(self) -> npt.NDArray[np.int64]:
        """Bytes of the rows in the file."""
        return np.arange(self.first, self.end)


def make_block(first: int, ids: Ids, rows: Rows) -> Block:
    """The block for rows (n, ...), C-contiguous, that begin at row `first`."""
    names, layout = ids.tobytes(), Layout.of(rows)
    checksum = zlib.crc32(rows.reshape(-1).view(np.uint8).data, zlib.crc32(names))
    header = _HEADER.pack(MAGIC, first, len(ids), checksum, layout.encode())
    content = header + zlib.crc32(names, zlib.crc32(header)).to_bytes(4, "little") + names
    return Block(first, ids, checksum, layout, content)


def parse_index(index: bytes) -> tuple[list[Block], bool]:
    """The intact blocks of an index, and whether there is damage; an incomplete last block is not damage.

    After a damaged block reading continues at the next one, so that only that block is lost.
    """
    blocks, end, gaps = [], 0, False
    for position, block in _blocks(index):
        gaps |= position > end
        end = position + len(block.content)
        blocks.append(block)
    return blocks, gaps or not _torn(index[end:])


def _blocks(index: bytes) -> Iterator[tuple[int, Block]]:
    """Where each intact block begins, and the block."""
    position = index.find(MAGIC)
    while position >= 0:
        block = _block(index, position)
        if block:
            yield position, block
        position = index.find(MAGIC, position + (len(block.content) if block else 1))


def _block(index: bytes, position: int) -> Block | None:
    if position + _START > len(index):
        return None
    header = index[position : position + _HEADER.size]
    _, first, count, checksum, layout = _HEADER.unpack(header)
    end = position + _START + count * ID_BYTES
    if count == 0 or end > len(index):
        return None
    names = index[position + _START : end]
    expected = int.from_bytes(index[position + _HEADER.size : position + _START], "little")
    if zlib.crc32(names, zlib.crc32(header)) != expected:
        return None
    try:
        decoded = Layout.decode(layout)
    except (ValueError, TypeError, UnicodeDecodeError):
        return None
    return Block(first, np.frombuffer(names, f"S{ID_BYTES}"), checksum, decoded, index[position:end])


def _torn(rest: bytes) -> bool:
    """Whether this is the beginning of a block whose end was never written."""
    if len(rest) < _START:
        return rest[: len(MAGIC)] == MAGIC[: len(rest)]
    return rest.startswith(MAGIC) and _START + _HEADER.unpack_from(rest)[2] * ID_BYTES > len(rest)
