"""Activations of a frozen stage, or decoded images: computed once for each view, in memory or in the store."""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from torch import Tensor

from transferkit.arrays import Rows
from transferkit.choices import SHARDS
from transferkit.data.batch_loading import Batch, Source
from transferkit.features.fill import Counts, Job, Places, fill
from transferkit.features.identities import shards_of
from transferkit.features.memory_rows import MemoryRows
from transferkit.features.store import CacheEntry
from transferkit.features.stored_inputs import StoredInputs
from transferkit.progress import progress

ROWS = "rows"


def store_rows(
    source: Source,
    labels: npt.NDArray[np.int64],
    compute: Callable[[Tensor], Rows],
    precision: str | None,
    *,
    views: int = 1,
    entry: CacheEntry | None = None,
    pixels: CacheEntry | None = None,
    in_memory: bool = True,
    batch_size: int = 64,
) -> StoredInputs:
    """Read rows from the store, and compute the missing ones.

    Args:
        source: The images, or `views` times as many: all in their first view, all in their second, and so on. Equal
            rows have equal identities, and are computed once.
        labels: Of the images (N,).
        compute: From inputs (n, 3, H, W) to rows in the layout of `pack`.
        precision: Of the rows, for `StoredInputs`.
        views: Number of views per image.
        entry: Gets the rows; None to hold them in memory only.
        pixels: Gets the inputs.
        in_memory: Whether to read them all into memory.
        batch_size: Images per batch.

    Raises:
        TransferkitError: An image cannot be read, or the store cannot be read or written.
    """

    def rows_of(batch: Batch, wanted: Mapping[str, Places]) -> Mapping[str, Rows]:
        return {
            name: compute(batch.inputs if len(places) == len(batch.inputs) else batch.inputs[places])
            for name, places in wanted.items()
        }

    rows = entry or MemoryRows()
    job = Job({ROWS: rows}, source, lambda _: rows_of, batch_size, "Computing activations", pixels, None, progress)
    ids = fill(job, Counts())
    shape = views, len(labels)
    if isinstance(rows, MemoryRows):
        return StoredInputs([rows.rows], _places(np.zeros(len(ids)), rows.find(ids), shape), labels, precision)
    if in_memory:
        unique, where = np.unique(ids, return_inverse=True)
        chunk = rows.gather(unique, ram_bytes=np.inf)
        return StoredInputs([chunk], _places(np.zeros(len(ids)), where, shape), labels, precision)
    chunks = [rows.map(shard) for shard in range(SHARDS)]
    return StoredInputs(chunks, _places(shards_of(ids), rows.find(ids), shape), labels, precision, owner=rows)


def _places(chunks: npt.NDArray[np.generic], rows: Places, shape: tuple[int, int]) -> Places:
    """Chunk and row of each view of each image (views, N, 2)."""
    return np.stack([chunks.astype(np.int64), rows], axis=1).reshape(*shape, 2)
