"""What is in a cache folder, and its removal; beside running jobs, without loading what computes anything."""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

_KEY = re.compile("[0-9a-f]{64}")
"""Nothing else is an entry, or removed, wherever `cache.dir` may point to."""


@dataclass(frozen=True)
class Listed:
    """One entry of a cache.

    Attributes:
        folder: Of the entry; its name is the key.
        kind: Such as features, activations or pixels.
        description: What entry.json says; empty where there is none that can be read.
        rows: In finished files.
        size: In bytes, of all files.
        used: Time of the last use, seconds since 1970; 0 if unknown.
    """

    folder: Path
    kind: str
    description: Mapping[str, Any]
    rows: int
    size: int
    used: float

    @property
    def key(self) -> str:
        """The name of the entry."""
        return self.folder.name


def list_entries(root: Path) -> list[Listed]:
    """All entries of all kinds below `root`, the one used last first."""
    folders = [
        folder
        for folder in root.glob("*/??/*")
        if folder.is_dir() and _KEY.fullmatch(folder.name) and folder.name[:2] == folder.parent.name
    ]
    return sorted(map(_listed, folders), key=lambda entry: (-entry.used, entry.key))


def remove_entries(entries: Sequence[Listed]) -> list[Listed]:
    """Remove entries; returns those that stay because a job computes rows of them, or they are not ours to remove.

    A job that reads an entry keeps what it has opened; what it asks for later is computed anew.
    """
    return [entry for entry in entries if not remove_entry(entry.folder)]


def _listed(folder: Path) -> Listed:
    rows = 0
    description: Any = {}
    with suppress(OSError, ValueError):
        description = json.loads((folder / "entry.json").read_bytes())
    for path in folder.glob("*.npy"):
        with suppress(OSError, ValueError):
            if path.with_suffix(".json").exists():
                rows += len(np.load(path, mmap_mode="r"))
    kind = folder.parent.parent.name
    about = description if isinstance(description, dict) else {}
    return Listed(folder, kind, about, rows, entry_size(folder), last_use(folder))


def entry_lock(folder: Path) -> FileLock:
    """What a job holds while it computes rows of the entry in `folder`."""
    return FileLock(folder.with_name(folder.name + ".lock"))


def last_use(folder: Path) -> float:
    """Seconds since 1970; 0 if unknown."""
    try:
        return (folder / "entry.json").stat().st_mtime
    except OSError:
        return 0.0


def entry_size(folder: Path) -> int:
    """Bytes of all files."""
    size = 0
    for path in folder.glob("*"):
        with suppress(OSError):  # another job has just removed it
            size += path.stat().st_size
    return size


def remove_entry(folder: Path) -> bool:
    """Remove an entry unless a job computes rows of it, or it is not ours to remove; returns whether it is gone."""
    lock = entry_lock(folder)
    try:
        lock.acquire(timeout=0)
    except OSError:  # filelock's Timeout is one
        return False
    try:
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        lock.release()
    return not folder.exists()
