"""Lists in messages, shortened, and without terminal control characters."""

from collections.abc import Sequence

from transferkit.errors import shown_text

_LIMIT = 20


def shown(items: Sequence[str]) -> str:
    """Join the first items with commas, and add the number of further ones."""
    return ", ".join(map(shown_text, items[:_LIMIT])) + _more(items)


def listed(items: Sequence[str]) -> str:
    """Write the first items on lines of their own, and add the number of further ones."""
    lines = "".join(f"\n  {shown_text(item)}" for item in items[:_LIMIT])
    return lines + ("\n " if _more(items) else "") + _more(items)


def _more(items: Sequence[str]) -> str:
    return f" and {len(items) - _LIMIT} more" if len(items) > _LIMIT else ""
