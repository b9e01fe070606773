"""Reading of untrusted small JSON files, bounded in size and depth; `plain_yaml` does the same for YAML."""

import json
import math
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transferkit.errors import TransferkitError

MAX_BYTES = 16 << 20
MAX_DEPTH = 40


class UnreadableFile(TransferkitError):
    """A file that cannot be used.

    Attributes:
        reason: The reason, without the path.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} {reason}")
        self.reason = reason


def read_bytes(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """Return the content of a plain file.

    Raises:
        UnreadableFile: It is missing, not a plain file (reading a pipe would block), too large, or unreadable.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UnreadableFile(path, "is no plain file")
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise UnreadableFile(path, f"cannot be read ({error.strerror or error})") from None
    if len(content) > max_bytes:
        raise UnreadableFile(path, f"has more than {max_bytes:,} bytes, far more than such a file needs")
    return content


def read_json(path: Path, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Return a JSON object (UTF-8); duplicate keys, nan, inf and deep nesting are refused.

    Raises:
        UnreadableFile: As `read_bytes`, or the content is refused.
    """
    return parse_json(read_bytes(path, max_bytes), path)


def parse_json(content: bytes, path: Path) -> dict[str, Any]:
    """Return the JSON object in `content` of the file `path`, as `read_json` does."""
    try:
        # surrogateescape: names of files that are no UTF-8 were written so.
        text = content.decode("utf-8", errors="surrogateescape")
        value = json.loads(text, object_pairs_hook=_without_repetition, parse_constant=_refuse)
        check_plain(value)
    except RecursionError:
        raise UnreadableFile(path, "is damaged (nested too deeply)") from None
    except ValueError as error:
        raise UnreadableFile(path, f"is damaged ({str(error)[:200]})") from None
    if not isinstance(value, dict):
        raise UnreadableFile(path, f"is damaged (a JSON object is wanted, not a {type(value).__name__})")
    return value


def check_plain(value: Any) -> None:
    """Refuse numbers that are not finite, and nesting deeper than `MAX_DEPTH`.

    Raises:
        ValueError: Saying which.
    """
    for part, depth in _walk(value):
        if depth > MAX_DEPTH:
            raise ValueError("nested too deeply")
        if isinstance(part, float) and not math.isfinite(part):
            raise ValueError(f"{part} is no finite number")


def _walk(value: Any) -> Iterator[tuple[Any, int]]:
    """Every part of nested containers, with its depth."""
    waiting = [(value, 0)]
    while waiting:
        part, depth = waiting.pop()
        yield part, depth
        if isinstance(part, dict | list):
            inner = part.values() if isinstance(part, dict) else part
            waiting.extend((one, depth + 1) for one in inner)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:100]!r} stands there twice")
    return found


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no finite number")
