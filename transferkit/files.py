"""Atomic writing of files: a reader sees the old file or the new one, never a part, even after a power cut."""

import csv
import io
import json
import os
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}\.transferkit-tmp")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` as indented JSON."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]], *, quoted: bool = False) -> None:
    """Write a CSV table with one header row; every cell in quotes, or only where necessary."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL)
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, buffer.getvalue())


def write_text(path: Path, text: str) -> None:
    """Write `text` (UTF-8), and missing parent folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_file(path) as temporary:
        # surrogateescape: file names that are not valid UTF-8 come back as the bytes they were.
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A temporary file that becomes `path` if the block succeeds, and is removed otherwise.

    The content is synchronised before the file is renamed (fsync of the file, then of the folder), so that not even a
    power cut leaves an incomplete file. No two writers share a temporary name; files of a killed writer are recognised
    by theirs, see `remove_temporary_files`.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.transferkit-tmp")
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        with suppress(OSError):  # some file systems, and Windows, cannot do this with folders
            _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_all(descriptor: int, content: bytes | memoryview) -> None:
    """Write everything at the position of the descriptor; the system may write in parts.

    Raises:
        OSError: The disk is full, for instance.
    """
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_temporary_files(folder: Path, *, below: bool = False) -> list[Path]:
    """Remove temporary files of killed writers in a folder without other writers; return those removed.

    Only plain files with a name that `new_file` gives are removed, and no symbolic link is followed.

    Args:
        folder: May be missing.
        below: Whether to include sub-folders.
    """
    removed = []
    for where, folders, names in os.walk(folder):
        for path in (Path(where, name) for name in names if _TEMPORARY.fullmatch(name)):
            if path.is_file() and not path.is_symlink():
                path.unlink(missing_ok=True)
                removed.append(path)
        if not below:
            folders.clear()
    return removed
