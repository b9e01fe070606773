"""Compute rows once for each image (and view), keep them in memory or in the cache."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext

import numpy as np
import numpy.typing as npt
from torch import Tensor

from transferkit.features.growing_rows import Pace
from transferkit.features.store import CacheEntry, Chunk, FeatureCache, Rows
from transferkit.features.stored_inputs import StoredInputs
from transferkit.progress import progress

log = logging.getLogger(__name__)

Load = Callable[[int, Sequence[int]], Iterator[tuple[Sequence[int], Tensor]]]
"""(view, positions) to batches of positions and inputs (n, 3, H, W)."""


def store_rows(
    ids: Sequence[Sequence[str]],
    labels: npt.NDArray[np.int64],
    load: Load,
    compute: Callable[[Tensor], Rows],
    precision: str | None,
    *,
    cache: FeatureCache | None = None,
    entry: CacheEntry | None = None,
    in_memory: bool = True,
) -> StoredInputs:
    """Take from the cache what it has, and compute the rest.

    Args:
        ids: Of each view, the name of the row of each image; equal rows have equal ones, and are computed once.
        labels: Of the images.
        load: Reads images.
        compute: From inputs to rows, as `pack` makes them.
        precision: Of the rows, for `StoredInputs`.
        cache: Where the entry lies; None without one.
        entry: Gets the rows; None to keep them in memory only.
        in_memory: Whether to read them all into memory.
    """
    wanted = {name: (view, i) for view, names in enumerate(ids) for i, name in reversed(list(enumerate(names)))}
    chunks = entry.read() if entry else []
    if not wanted.keys() <= _names(chunks):
        with cache.locked([entry]) if cache and entry else nullcontext():
            chunks = entry.clean() if entry else []
            there = _names(chunks)
            missing = {name: place for name, place in wanted.items() if name not in there}
            with progress("Computing what is frozen", len(missing)) as advance:
                for chunk in _computed(missing, load, compute, entry):
                    chunks.append(chunk)
                    advance(len(chunk[0]))
        if cache:
            cache.shrink()
    rows = [np.array(chunk) if in_memory and isinstance(chunk, np.memmap) else chunk for _, chunk in chunks]
    where = {name: (c, i) for c, (names, _) in enumerate(chunks) for i, name in enumerate(names)}
    places = np.array([[where[name] for name in names] for names in ids], dtype=np.int64)
    return StoredInputs(rows, places.reshape(len(ids), -1, 2), labels, precision)


def _names(chunks: Sequence[Chunk]) -> set[str]:
    return {name for names, _ in chunks for name in names}


def _computed(
    missing: dict[str, tuple[int, int]], load: Load, compute: Callable[[Tensor], Rows], entry: CacheEntry | None
) -> Iterator[Chunk]:
    """Compute, and write what there is in any case."""
    names: dict[tuple[int, int], str] = {place: name for name, place in missing.items()}
    waiting: list[tuple[list[str], Rows]] = []
    pace = Pace()
    try:
        for view in sorted({view for view, _ in names}):
            for positions, inputs in load(view, sorted(i for v, i in names if v == view)):
                waiting.append(([names[view, i] for i in positions], compute(inputs)))
                if pace.due(sum(rows.nbytes for _, rows in waiting)):
                    chunk, waiting = _keep(waiting, entry), []
                    yield chunk
    except BaseException:
        if waiting:
            _keep(waiting, entry)
        raise
    if waiting:
        yield _keep(waiting, entry)


def _keep(waiting: list[tuple[list[str], Rows]], entry: CacheEntry | None) -> Chunk:
    names = [name for some, _ in waiting for name in some]
    rows = np.concatenate([rows for _, rows in waiting])
    return entry.write(names, rows) if entry else (names, rows)
