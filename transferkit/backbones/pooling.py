"""Pooling of a stage's output to one vector per image, and its conversion to a map."""

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from transferkit.backbones.stages import StageInfo
from transferkit.choices import POOLS
from transferkit.errors import TransferkitError, unknown_name


def check_pool(pool: str) -> None:
    """Raise a `TransferkitError` if `pool` is not one of `POOLS`."""
    if pool not in POOLS:
        raise TransferkitError(unknown_name("pool", pool, POOLS, "pooling"))


def pool_features(h: Tensor, pool: str = "avg", info: StageInfo | None = None) -> Tensor:
    """Pool a map (N, C, H, W) or tokens (N, L, C) to vectors; (N, C) is returned unchanged.

    Args:
        h: The feature of N images.
        pool: One of `POOLS` but "native", which only a backbone can do. "gridK" gives (N, C K K) with the channel as
            the slowest index, like `flatten`; a map with fewer than K positions in a direction keeps its own.
        info: Of the stage; tokens without it have no prefix.

    Raises:
        TransferkitError: If `pool` is not one of `POOLS`, or there is no class token for it.
    """
    check_pool(pool)
    if pool == "auto":
        pool = info.pool if info is not None else "avg"
    if h.ndim == 2:
        return h
    if pool in ("cls", "cls+avg"):
        return _with_class_token(h, pool, info)
    if pool == "native":
        raise TransferkitError(f"pool=native: {_named(info)} has no pooling of its own; auto, avg or max will do.")
    if pool in ("avg", "max"):
        if h.ndim == 3:
            patches = h[:, info.prefix_tokens if info is not None else 0 :]
            return patches.amax(dim=1) if pool == "max" else patches.mean(dim=1)
        return h.amax(dim=(2, 3)) if pool == "max" else h.mean(dim=(2, 3))
    cells = int(pool.removeprefix("grid"))
    h = h if h.ndim == 4 else feature_map(h, info)
    return adaptive_avg_pool2d(h, (min(cells, h.shape[2]), min(cells, h.shape[3]))).flatten(1)


def feature_map(h: Tensor, info: StageInfo | None) -> Tensor:
    """The map (N, C, H, W) of a stage's output: for tokens (N, L, C) the patch tokens in their grid.

    Args:
        h: A map, which is returned unchanged, or tokens.
        info: Of the stage.

    Raises:
        TransferkitError: If the grid of the tokens is unknown, or `h` is a vector.
    """
    if h.ndim == 4:
        return h
    if h.ndim != 3 or info is None or info.grid is None:
        raise TransferkitError(f"{_named(info)} gives no map.")
    patches = h[:, info.prefix_tokens :]
    rows, columns = _grid(patches.shape[1], info)
    return patches.transpose(1, 2).reshape(h.shape[0], -1, rows, columns)


def _grid(count: int, info: StageInfo) -> tuple[int, int]:
    """Rows and columns of so many tokens: the stage's own, or of the same proportion at another input size."""
    assert info.grid is not None
    rows, columns = info.grid
    scale = (count / (rows * columns)) ** 0.5
    found = round(rows * scale), round(columns * scale)
    if found[0] * found[1] != count:
        raise TransferkitError(f"{_named(info)}: {count} tokens lie in no grid of the proportion {rows} x {columns}.")
    return found


def _with_class_token(h: Tensor, pool: str, info: StageInfo | None) -> Tensor:
    if h.ndim != 3 or info is None or not info.prefix_tokens:
        raise TransferkitError(f"pool={pool}: {_named(info)} has no class token; auto, avg or max will do.")
    token = h[:, 0]
    if pool == "cls":
        return token
    # Of several blocks DINOv2's linear evaluation takes all class tokens, and the patches of the last.
    patches = h[:, info.prefix_tokens :, -(h.shape[2] // info.blocks) :]
    return torch.cat([token, patches.mean(dim=1)], dim=1)


def _named(info: StageInfo | None) -> str:
    return info.name if info is not None else "this feature"
