r"""The cell `top5` of predictions.csv: class names with `|` between them, the likeliest first.

A `|` or `\` within a name has a `\` before it, so that every cell reads back, whatever the classes are called.
"""

import re
from collections.abc import Iterable

_PART = re.compile(r"(?:[^\\|]|\\.)*", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def join_names(names: Iterable[str]) -> str:
    """Write class names into one cell."""
    return "|".join(name.replace("\\", "\\\\").replace("|", "\\|") for name in names)


def split_names(cell: str) -> list[str]:
    """Read the class names of a cell.

    Raises:
        ValueError: The cell ends within an escape, so that it is not one of `join_names`.
    """
    names, at = [], 0
    while True:
        part = _PART.match(cell, at)
        assert part is not None  # it matches the empty text too
        names.append(_ESCAPED.sub(r"\1", part[0]))
        if part.end() == len(cell):
            return names
        if cell[part.end()] != "|":
            raise ValueError(f"not a list of class names: {cell!r}")
        at = part.end() + 1
