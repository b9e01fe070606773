"""Names for arrays, by what their numbers mean."""

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
