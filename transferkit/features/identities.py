"""Identities of images as 16 bytes each, and the shard of an entry that each belongs to."""

import re
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from transferkit.choices import SHARDS

ID_BYTES = 16

Ids = npt.NDArray[np.bytes_]
"""(N,), of 16 bytes each."""

_HASH = re.compile("[0-9a-f]{32}")


def to_ids(names: Sequence[str]) -> Ids:
    """Identities as bytes: 32 hex digits directly, other names (a view of an image, a position) by their hash."""
    return np.frombuffer(b"".join(map(_bytes, names)), dtype=f"S{ID_BYTES}")


def shards_of(ids: Ids) -> npt.NDArray[np.int64]:
    """The shard of each (N,), by the first bits."""
    first = np.ascontiguousarray(ids).view(np.uint8).reshape(-1, ID_BYTES)[:, 0]
    return first.astype(np.int64) * SHARDS // 256


def _bytes(name: str) -> bytes:
    return bytes.fromhex(name) if _HASH.fullmatch(name) else blake2b(name.encode(), digest_size=ID_BYTES).digest()
