"""Number format and threads of a fit, by the number of its multiplications."""

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from transferkit.probes.logistic.basis import Basis

_ONE_THREAD = 1e9
"""Below this number of multiplications per pass (rows x features x classes) one BLAS thread is used: more threads
gain little on an idle machine, and lose a factor of ten to spinning on a busy one."""

_SINGLE = 2e7
"""From this number of multiplications per pass on, single precision is used in the sweep; below it gains nothing."""

_SINGLE_TOL = 5e-6
"""Smallest tolerance for which single precision, with gradients exact to about 1e-7, is sufficient."""


def threads(shape: tuple[int, int], classes: int) -> threadpool_limits:
    """The context in which a fit on rows of this shape (N, D) uses as many threads as it gains from."""
    return threadpool_limits(1 if shape[0] * shape[1] * classes < _ONE_THREAD else None, user_api="blas")


def precise_enough(count: int, basis: Basis, classes: int, tol: float) -> npt.DTypeLike:
    """Single precision for `count` rows in a basis if it is faster and its errors are well below the tolerance."""
    small = count * len(basis.variances) * classes < _SINGLE
    return np.float64 if small or tol < _SINGLE_TOL else np.float32
