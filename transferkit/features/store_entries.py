"""The entries of a cache folder, and their removal, beside running jobs and without importing torch.

`cache.dir` may be any folder, so nothing is listed or removed unless it is certainly ours: the root carries our marker,
the entry's manifest hashes to the name of its folder, no part of its path is a symbolic link, and only files with names
that a cache writes are deleted.
"""

import json
import logging
import os
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from transferkit.features.claims import USE, Removal
from transferkit.features.gathered import PREFIX
from transferkit.features.shard_blocks import parse_index

log = logging.getLogger(__name__)

MARKER = ".transferkit-cache"
"""A file in the root of every cache; nothing is removed below a folder without it."""

MANIFEST = "entry.json"

GIGABYTE = 10**9

_KEY = re.compile("[0-9a-f]{64}")

_OLD = r"[0-9a-f]{32}\.(npy|json)"
"""Rows and their index, up to format 2."""

_NAMES = rf"(entry\.json|pace\.json|\d\d\.(rows|index|lock)|use\.lock|{_OLD})"
# The last two: what a killed writer left, as `files.new_file` names it, and as it did before.
_OURS = re.compile(rf"{_NAMES}|\.{_NAMES}\.[0-9a-f]{{32}}\.transferkit-tmp|{_NAMES}\.tmp")
"""The files that a cache writes into an entry."""

_LEFT_SECONDS = 3600.0
"""A temporary file of a manifest, or a file without a name that has one, is written in far less."""


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
        description: What entry.json says.
        rows: Appended so far; 0 in an entry of an old format, which is not read any more.
        size: In bytes, of all files.
        used: Time of the last use, seconds since 1970; 0 if unknown.
        old: Whether it is of a format that is not read any more.
    """

    folder: Path
    kind: str
    description: Mapping[str, Any]
    rows: int
    size: int
    used: float
    old: bool = False

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
        if _KEY.fullmatch(folder.name) and folder.name[:2] == prefix.name and read_manifest(folder) is not None
    ]


def list_entries(root: Path) -> list[Listed]:
    """All entries of all kinds below `root`, the one used last first."""
    return sorted(map(_listed, entry_folders(root)), key=lambda entry: (-entry.used, entry.key))


def remove_entries(entries: Sequence[Listed]) -> list[Listed]:
    """Remove entries; returns those that stay because a job uses them, or they are not ours to remove."""
    return [entry for entry in entries if not remove_entry(entry.folder)]


def shrink_cache(root: Path, max_gb: float) -> None:
    """Remove the entries used least recently until the size is within `max_gb`, and the leftovers of killed jobs."""
    entries = [(last_use(folder), entry_size(folder), folder) for folder in entry_folders(root)]
    excess = sum(size for _, size, _ in entries) - max_gb * GIGABYTE
    for _, size, folder in sorted(entries):
        if excess <= 0:
            break
        if remove_entry(folder):
            log.info("Feature cache: removed %s, used least recently (cache.max_gb=%g).", folder, max_gb)
            excess -= size
    if (root / MARKER).is_file():
        for path in root.glob(f"{PREFIX}*"):
            _remove_old(path)


def remove_leftovers(folder: Path, name: str) -> None:
    """Remove temporary files of killed writers from an entry: those of the file `name`, and of the manifest."""
    for path in folder.glob(".*.transferkit-tmp"):
        if path.name.startswith(f".{name}.") and _OURS.fullmatch(path.name):
            path.unlink(missing_ok=True)
        elif path.name.startswith(f".{MANIFEST}."):
            _remove_old(path)


def _remove_old(path: Path) -> None:
    """Remove a plain file that nobody has written for long."""
    with suppress(OSError):
        if not path.is_symlink() and path.is_file() and time.time() - path.stat().st_mtime > _LEFT_SECONDS:
            path.unlink()


def _folders(parent: Path) -> list[Path]:
    """Real sub-folders of a folder; symbolic links are not followed."""
    try:
        with os.scandir(parent) as found:
            return sorted(Path(item.path) for item in found if item.is_dir(follow_symlinks=False))
    except OSError:
        return []


def read_manifest(folder: Path) -> dict[str, Any] | None:
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
    about, kind = read_manifest(folder) or {}, folder.parent.parent.name
    rows = 0
    for path in folder.glob("*.index"):
        with suppress(OSError):
            rows += sum(len(block.ids) for block in parse_index(path.read_bytes())[0])
    old = about.get("store") is None
    return Listed(folder, kind, about, rows, entry_size(folder), last_use(folder), old)


def last_use(folder: Path) -> float:
    """Seconds since 1970; 0 if unknown."""
    try:
        return (folder / MANIFEST).stat().st_mtime
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
    """Remove an entry unless a job uses it, or it is not ours to remove; returns whether it is gone."""
    if not folder.exists():
        return True
    if not (folder.parents[2] / MARKER).is_file() or folder.is_symlink() or read_manifest(folder) is None:
        return False
    try:
        removal = Removal(folder)
    except OSError:
        return False
    try:
        # The manifest and the lock go last: what is left of an interrupted removal is still known to be ours.
        last = (MANIFEST, USE)
        for path in sorted(folder.iterdir(), key=lambda path: last.index(path.name) if path.name in last else -1):
            if removal.granted and _OURS.fullmatch(path.name) and not path.is_dir():
                path.unlink(missing_ok=True)
        if removal.granted:
            folder.rmdir()
            folder.with_name(folder.name + ".lock").unlink(missing_ok=True)  # of format 2
    except OSError:  # not ours to remove, or a file of somebody else lies in it
        return False
    finally:
        removal.close()
    return removal.granted
