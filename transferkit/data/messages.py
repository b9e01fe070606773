"""Lists in messages, cut to a sensible length."""

from collections.abc import Sequence

_LIMIT = 20


def shown(items: Sequence[str]) -> str:
    """Join the first items with commas, and say how many more there are."""
    return ", ".join(items[:_LIMIT]) + _more(items)


def listed(items: Sequence[str]) -> str:
    """Put the first items on lines of their own, and say how many more there are."""
    return "".join(f"\n  {item}" for item in items[:_LIMIT]) + ("\n " if _more(items) else "") + _more(items)


def _more(items: Sequence[str]) -> str:
    return f" and {len(items) - _LIMIT} more" if len(items) > _LIMIT else ""
