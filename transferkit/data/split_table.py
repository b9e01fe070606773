"""The table `split.csv` of a run directory: when its cells have to be read to the letter."""

from collections.abc import Iterable, Sequence

HEADER = ("path", "label", "split")

EXACT_HEADER = '"path","label","split"'
"""So quoted, the header says that every cell is quoted and counts as it is: spaces at its ends, no text at all, bytes
that are not UTF-8. In other tables spaces around a cell are not part of it."""


def needs_exact(rows: Iterable[Sequence[str]]) -> bool:
    """Whether a cell would not come back from an ordinary table."""
    return any(cell != cell.strip() or not cell or _is_broken(cell) for row in rows for cell in row)


def _is_broken(cell: str) -> bool:
    return not cell.isascii() and any("\ud800" <= letter <= "\udfff" for letter in cell)
