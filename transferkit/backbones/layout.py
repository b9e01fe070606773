"""How the values of a feature lie in its tensor: maps of either order, or tokens."""

import math
from dataclasses import dataclass

_MOST_PREFIX = 16  # class and register tokens


@dataclass(frozen=True)
class Layout:
    """Of a feature.

    Attributes:
        kind: "map" or "tokens".
        channels: Its channels.
        grid: Rows and columns of positions.
        prefix_tokens: Tokens before those of the grid.
        channels_last: Whether a map is (N, H, W, C).
    """

    kind: str
    channels: int
    grid: tuple[int, int]
    prefix_tokens: int = 0
    channels_last: bool = False


def layout(shape: tuple[int, ...] | None, grid: tuple[int, int]) -> Layout | None:
    """The layout of a tensor for one image that has `grid` positions; None if it is none."""
    if shape is None or 0 in shape:
        return None
    if len(shape) == 4 and shape[2:] == grid:
        return Layout("map", shape[1], grid)
    if len(shape) == 4 and shape[1:3] == grid:
        return Layout("map", shape[3], grid, channels_last=True)
    prefix = shape[1] - grid[0] * grid[1] if len(shape) == 3 else -1
    return Layout("tokens", shape[2], grid, prefix) if 0 <= prefix <= _MOST_PREFIX else None


def layout_at(shape: tuple[int, ...] | None, size: tuple[int, int], stride: int) -> Layout | None:
    """The layout of a tensor for one image of `size`, if it has a position for every `stride` pixels."""
    found = [layout(shape, (whole(size[0] / stride), whole(size[1] / stride))) for whole in (math.floor, math.ceil)]
    return min((there for there in found if there is not None), key=lambda there: there.prefix_tokens, default=None)


def guess(shape: tuple[int, ...] | None, size: tuple[int, int]) -> tuple[Layout, int] | None:
    """The layout of a tensor and its stride, a power of two, where nothing is declared; tokens have no prefix."""
    for level in range(1, 7):
        found = layout_at(shape, size, 2**level)
        if found is not None and found.prefix_tokens == 0:
            return found, 2**level
    return None


def guess_flat(shape: tuple[int, ...] | None, size: tuple[int, int]) -> Layout | None:
    """The layout of a tensor that has the image's proportions, at any stride."""
    if shape is None:
        return None
    if len(shape) == 4:
        for last in (False, True):
            grid = (shape[1], shape[2]) if last else (shape[2], shape[3])
            if grid[0] * size[1] == grid[1] * size[0]:
                return layout(shape, grid)
        return None
    if len(shape) != 3:
        return None
    for rows in range(math.isqrt(shape[1] * size[0] // size[1] + 1) + 1, 0, -1):
        columns = round(rows * size[1] / size[0])
        if columns and 0 <= shape[1] - rows * columns <= _MOST_PREFIX:
            return layout(shape, (rows, columns))
    return None
