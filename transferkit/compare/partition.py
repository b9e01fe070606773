"""Items in groups of equal keys."""

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

Item = TypeVar("Item")


def partition(items: Iterable[Item], key: Callable[[Item], Hashable]) -> list[list[Item]]:
    """Return the groups in the order of their first items."""
    groups: dict[Hashable, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.values())
