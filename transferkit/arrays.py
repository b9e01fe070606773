"""Names for arrays, by what their numbers mean."""

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

Doubles = npt.NDArray[np.float64]
"""Where sums of many terms need the precision."""


def release_pages(array: npt.NDArray[Any]) -> None:
    """Let go of the pages that were read of a read-only memory-mapped array, or of the one that this is a part of.

    They count as memory of the process; the system still holds them, so that to read them again costs little. Of other
    arrays nothing is done.
    """
    base: Any = array
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap) and base.mode == "r" and isinstance(base.base, mmap.mmap):
            if hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
                base.base.madvise(mmap.MADV_DONTNEED)
            return
        base = base.base
