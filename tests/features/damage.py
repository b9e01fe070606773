"""Damage to the files of an entry, for several tests."""

from pathlib import Path

import numpy as np

from transferkit.features.identities import shards_of, to_ids
from transferkit.features.store import CacheEntry


def fill_entry(entry: CacheEntry, names: list[str], rows: np.ndarray) -> None:
    """Write rows as one job does."""
    entry.open()
    entry.prepare()
    ids = to_ids(names)
    shards = shards_of(ids)
    for shard in np.unique(shards):
        entry.refresh(int(shard))
        entry.append(int(shard), ids[shards == shard], rows[shards == shard])


def read_entry(entry: CacheEntry, names: list[str]) -> dict[str, list[float]]:
    """The rows that an entry has of these."""
    fresh = CacheEntry(entry.root, entry.folder.parents[1].name, {})
    fresh.folder = entry.folder
    fresh.open()
    there = [name for name, place in zip(names, fresh.find(to_ids(names)), strict=True) if place >= 0]
    rows = fresh.gather(to_ids(there)).tolist() if there else []
    return dict(zip(there, rows, strict=True))


def flip_a_bit(path: Path, at: int = -2) -> None:
    """Change one byte."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def some_files(root: Path, pattern: str) -> list[Path]:
    """Files of a cache by what their names end with, the largest first."""
    return sorted(root.rglob(pattern), key=lambda path: (-path.stat().st_size, path.name))
