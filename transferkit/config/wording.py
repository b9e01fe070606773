"""Sentences about unknown keys and choices. Imported at every start, so without heavy imports."""

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

LISTED = 40
"""Maximum number of names in a message."""

LONG = 100
"""Maximum number of characters of a value in a message."""


def no_such_key(key: str, siblings: Sequence[str], everywhere: Sequence[str] = ()) -> str:
    """Return a sentence about an unknown key: similar keys, and the valid keys in its place.

    Args:
        key: With dots.
        siblings: The valid keys in its place.
        everywhere: All keys of the configuration, with dots.
    """
    place, _, name = key.rpartition(".")
    near = [f"{place}.{close}" if place else close for close in close_matches(name, siblings)]
    others = [other for other in everywhere if other != key and not key.startswith(f"{other}.")]
    near = near or [other for other in others if other.rpartition(".")[2] == name]
    near = near or close_matches(key, others, cutoff=0.8)
    hint = f" Did you mean {' or '.join(near[:4])}?" if near else ""
    listed = f" Keys{f' of {place}' if place else ''}: {', '.join(siblings)}." if 0 < len(siblings) <= LISTED else ""
    return f"{key}: there is no such key.{hint}{listed}"


def no_such_choice(group: str, name: Any, choices: Sequence[str]) -> str:
    """Return a sentence about an unknown choice of a group: similar choices, and all valid ones."""
    near = close_matches(str(name), choices)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return f"{group}={show(name)}: there is no such choice.{hint} Valid: {', '.join(choices)}."


def close_matches(name: str, names: Iterable[str], cutoff: float = 0.6) -> list[str]:
    """Return the names similar to `name`, ignoring case, the closest first."""
    by_lower = {other.lower(): other for other in names}
    return [by_lower[close] for close in difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=cutoff)]


def show(value: Any) -> str:
    """Return a value as it is typed on the command line."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, Mapping):
        text = f"{{{', '.join(f'{key}: {show(item)}' for key, item in value.items())}}}"
    elif isinstance(value, list | tuple):
        text = f"[{', '.join(show(item) for item in value)}]"
    else:
        text = str(value)
    return text if len(text) <= LONG else f"{text[:LONG]}..."


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the keys of nested mappings with dots, those of inner nodes too."""
    for key, value in values.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
