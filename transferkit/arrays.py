"""Names of array types by the meaning of their values."""

import mmap
from typing import Any

import numpy as np
import numpy.typing as npt

Features = npt.NDArray[np.float32]
"""(N, D)."""

Probabilities = npt.NDArray[np.float32]
"""(N, K)."""

Labels = npt.NDArray[np.int64]
"""(N,), from 0 on."""

Rows = npt.NDArray[Any]
"""(n, ...): a row for each image, of any shape and type."""

Doubles = npt.NDArray[np.float64]
"""For sums of many terms, which need double precision."""


def release_pages(array: npt.NDArray[Any]) -> None:
    """Release the pages that were read of a read-only memory-mapped array, or of the array that this is a view of.

    They count as memory of the process; the system still caches them, so reading them again is cheap. Other arrays are
    ignored.
    """
    base: Any = array
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap) and base.mode == "r" and isinstance(base.base, mmap.mmap):
            if hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
                base.base.madvise(mmap.MADV_DONTNEED)
            return
        base = base.base
