"""The header of a .safetensors file: names, types and shapes of its tensors, checked before anything is allocated.

The safetensors library checks the same when it opens a file, but allocates the size given in the header on loading,
and its messages are not specific.
"""

import math
from pathlib import Path
from typing import NamedTuple

from transferkit.untrusted import UnreadableFile, parse_json

MAX_HEADER = 32 << 20
MAX_TENSORS = 100_000

_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


class TensorInfo(NamedTuple):
    """Type (safetensors' name) and shape of a tensor."""

    kind: str
    shape: tuple[int, ...]


def read_header(path: Path) -> dict[str, TensorInfo]:
    """Return the types and shapes of the tensors in a file, by name.

    Raises:
        UnreadableFile: The file is missing, or its header or length is wrong.
    """
    if not path.is_file():
        raise UnreadableFile(path, "is missing")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            content = file.read(length) if length <= min(MAX_HEADER, size - 8) else b""
    except OSError as error:
        raise UnreadableFile(path, f"cannot be read ({error.strerror or error})") from None
    if not content:
        raise UnreadableFile(path, "is damaged (it has no header of a .safetensors file, or is cut off)")
    header = parse_json(content, path)
    header.pop("__metadata__", None)
    if len(header) > MAX_TENSORS:
        raise UnreadableFile(path, f"is damaged (it names {len(header)} tensors)")
    spans = sorted((_span(path, name, entry), name) for name, entry in header.items())
    end = 0
    for (first, last), name in spans:
        if first != end:
            raise UnreadableFile(path, f"is damaged (the tensor {name[:100]} does not begin where the one before ends)")
        end = last
    if 8 + length + end != size:
        raise UnreadableFile(path, f"is damaged ({size:,} bytes instead of {8 + length + end:,})")
    return {name: TensorInfo(entry["dtype"], tuple(entry["shape"])) for name, entry in header.items()}


def _span(path: Path, name: str, entry: object) -> tuple[int, int]:
    """The byte range of a tensor."""
    if isinstance(entry, dict) and set(entry) == {"dtype", "shape", "data_offsets"}:
        kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        numbers = [*shape, *offsets] if isinstance(shape, list) and isinstance(offsets, list) else [None]
        whole = all(type(number) is int and number >= 0 for number in numbers)
        if whole and len(offsets) == 2 and len(shape) <= 10 and isinstance(kind, str) and kind in _BYTES:
            first, last = offsets
            if last - first == math.prod(shape) * _BYTES[kind]:
                return first, last
    raise UnreadableFile(path, f"is damaged (what its header says of the tensor {name[:100]} cannot be)")
