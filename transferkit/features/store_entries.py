"""The entries of a cache folder, and their removal, beside running jobs and without importing torch.

`cache.dir` may be any folder, so nothing is listed or removed unless it is certainly ours: the root carries our marker,
the entry's manifest hashes to the name of its folder, no part of its path is a symbolic link, and only files with names
that a cache writes are deleted.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

MARKER = ".transferkit-cache"
"""A file in the root of every cache; nothing is removed below a folder without it."""

MANIFEST = "entry.json"

_KEY = re.compile("[0-9a-f]{64}")

_NAMES = r"(entry\.json|[0-9a-f]{32}\.(npy|json))"
# The last two: what a killed writer left, as `files.new_file` names it, and as it did before.
_OURS = re.compile(rf"{_NAMES}|\.{_NAMES}\.[0-9a-f]{{32}}\.transferkit-tmp|{_NAMES}\.tmp")
"""The files that a cache writes into an entry."""


def entry_key(description: Mapping[str, Any]) -> str:
    """The key of an entry: SHA-256 of its description."""
    return sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()


def mark_root(root: Path) -> None:
    """Make `root` if it is missing, and mark it as a cache."""
    root.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError), (root / MARKER).open("x", encoding="utf-8") as file:
        file.write("transferkit keeps computed features here; `transferkit task=cache` lists and removes them.\n")


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


def entry_folders(root: Path) -> list[Path]:
    """The folders below a marked `root` that certainly are entries of the cache."""
    if not (root / MARKER).is_file():
        return []
    return [
        folder
        for kind in _folders(root)
        for prefix in _folders(kind)
        for folder in _folders(prefix)
        if _KEY.fullmatch(folder.name) and folder.name[:2] == prefix.name and _read_manifest(folder) is not None
    ]


def list_entries(root: Path) -> list[Listed]:
    """All entries of all kinds below `root`, the one used last first."""
    return sorted(map(_listed, entry_folders(root)), key=lambda entry: (-entry.used, entry.key))


def remove_entries(entries: Sequence[Listed]) -> list[Listed]:
    """Remove entries; returns those that stay because a job computes rows of them, or they are not ours to remove.

    A job that reads an entry keeps what it has opened; what it asks for later is computed anew.
    """
    return [entry for entry in entries if not remove_entry(entry.folder)]


def _folders(parent: Path) -> list[Path]:
    """Real sub-folders of a folder; symbolic links are not followed."""
    try:
        with os.scandir(parent) as found:
            return sorted(Path(item.path) for item in found if item.is_dir(follow_symlinks=False))
    except OSError:
        return []


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    """The description of an entry; None where it does not hash to the name of its folder."""
    path = folder / MANIFEST
    with suppress(OSError, ValueError, RecursionError):
        if path.is_symlink() or path.stat().st_size > 2**20:
            return None
        description = json.loads(path.read_bytes())
        if isinstance(description, dict) and entry_key(description) == folder.name:
            return description
    return None


def _listed(folder: Path) -> Listed:
    rows = 0
    for path in folder.glob("*.npy"):
        with suppress(OSError, ValueError):
            if path.with_suffix(".json").exists():
                rows += len(np.load(path, mmap_mode="r"))
    kind = folder.parent.parent.name
    return Listed(folder, kind, _read_manifest(folder) or {}, rows, entry_size(folder), last_use(folder))


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
    if not folder.exists():
        return True
    if not (folder.parents[2] / MARKER).is_file() or folder.is_symlink() or _read_manifest(folder) is None:
        return False
    lock = entry_lock(folder)
    try:
        lock.acquire(timeout=0)
    except OSError:  # filelock's Timeout is one
        return False
    try:
        # The manifest goes last: what is left of an interrupted removal is still known to be ours.
        for path in sorted(folder.iterdir(), key=lambda path: path.name == MANIFEST):
            if _OURS.fullmatch(path.name) and not path.is_dir():
                path.unlink(missing_ok=True)
        folder.rmdir()
    except OSError:  # not ours to remove, or a file of somebody else lies in it
        return False
    finally:
        lock.release()
    return True
