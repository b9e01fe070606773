"""The rows that a logistic regression is fitted or evaluated on, and one pass over them."""

from collections.abc import Iterator
from copy import copy
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from transferkit.arrays import Doubles
from transferkit.probes.logistic.basis import Basis, Head, Stack

Ints = npt.NDArray[np.int64]

KEPT_BYTES = 2**25
"""Maximum size of rotated rows in memory, 32 MB; beyond it they are recomputed block by block in every pass, so that
memory does not grow with their number."""

_LOGITS = 2**18
"""Number of logits in memory at a time."""


class Rows:
    """Rows in a basis.

    Args:
        X: (N, D) raw features.
        basis: The basis.
        dtype: Of the products; sums over rows are in double precision.
        fitted: Whether the basis was computed from these rows.
    """

    def __init__(self, X: Stack, basis: Basis, dtype: npt.DTypeLike, fitted: bool = False) -> None:
        self.count = X.shape[0]
        self.passes = 0
        self._weights: Doubles | None = None
        self._X, self._basis, self._dtype = X, basis, dtype
        self._kept: npt.NDArray[Any] | None = None
        if fitted and basis.rows is not None:
            self._kept = np.ascontiguousarray(basis.rows, dtype=dtype)
        elif self.count * len(basis.variances) * np.dtype(dtype).itemsize <= KEPT_BYTES:
            self._kept = np.empty((self.count, len(basis.variances)), dtype=dtype)
            for where, block in X.blocks():
                self._kept[where] = basis.project(block)

    def logits(self, head: Head) -> Doubles:
        """Logits (N, K) of a head in the basis; (N, 1) for two classes."""
        out = np.empty((self.count, len(head[1])))
        for where, _, logits in self._logits(self._outer(head[0]), head[1]):
            out[where] = logits
        return out

    def weighted(self, weights: Doubles | None) -> "Rows":
        """The same rows, whose losses count with these factors (N,); None: all alike."""
        rows = copy(self)
        rows._weights = weights
        return rows

    def class_sums(self, labels: Ints) -> tuple[Doubles, Doubles]:
        """The sum of each class's rows in the basis (K, R), and the number of its rows (K,); labels (N,)."""
        counts = np.bincount(labels).astype(np.float64)
        chosen = np.eye(len(counts))
        sums = np.zeros((len(counts), len(self._basis.variances)))
        for where, inside in self._inside():
            sums += chosen[:, labels[where]] @ inside
        return sums, counts

    def value_sums(self, values: Doubles) -> Doubles:
        """The sum of the rows in the basis (T, R), each times its values (N, T)."""
        sums = np.zeros((values.shape[1], len(self._basis.variances)))
        for where, inside in self._inside():
            sums += values[where].T @ inside
        return sums

    def loss(self, head: Head, labels: Ints) -> tuple[float, Head, Doubles]:
        """One pass: the mean loss of a head in the basis, its gradient, and the mean of p (1 - p) per class, (K,)."""
        self.passes += 1
        weights = self._outer(head[0])
        loss, slope = 0.0, np.zeros(weights.shape)
        slope_bias, spread = np.zeros(len(weights)), np.zeros(len(weights))
        for where, block, logits in self._logits(weights, head[1]):
            factors = None if self._weights is None else self._weights[where]
            part, probabilities = (_two if len(weights) == 1 else _many)(logits, labels[where], factors)
            loss += part
            if factors is None:
                spread += np.einsum("nk,nk->k", probabilities, 1 - probabilities)
            else:
                spread += np.einsum("n,nk,nk->k", factors, probabilities, 1 - probabilities)
            _subtract_truth(probabilities, labels[where])
            if factors is not None:
                probabilities *= factors[:, None].astype(probabilities.dtype)
            slope += probabilities.T @ block
            slope_bias += probabilities.sum(axis=0, dtype=np.float64)
        slope = slope if self._kept is not None else self._basis.gradient_inside(slope)
        return loss / self.count, (slope / self.count, slope_bias / self.count), spread / self.count

    def _outer(self, weights: Doubles) -> Doubles:
        """Weights for the blocks: in the basis, or on centred features."""
        return weights if self._kept is not None else self._basis.weights_outside(weights)

    def _logits(self, weights: Doubles, bias: Doubles) -> Iterator[tuple[slice, npt.NDArray[Any], npt.NDArray[Any]]]:
        """Blocks of rows: their slice, their values, and their logits."""
        transposed, bias = weights.T.astype(self._dtype), bias.astype(self._dtype)
        step = max(1, _LOGITS // len(bias))
        for where, block in self._blocks():
            for first in range(0, len(block), step):
                rows = block[first : first + step]
                yield slice(where.start + first, where.start + first + len(rows)), rows, rows @ transposed + bias

    def _inside(self) -> Iterator[tuple[slice, Doubles]]:
        """Blocks of rows in the basis."""
        for where, block in self._blocks():
            yield where, block if self._kept is not None else self._basis.gradient_inside(block.astype(np.float64))

    def _blocks(self) -> Iterator[tuple[slice, npt.NDArray[Any]]]:
        if self._kept is not None:
            yield slice(0, self.count), self._kept
            return
        for where, block in self._X.blocks():
            yield where, self._basis.centred(block, self._dtype)


def _many(logits: npt.NDArray[Any], labels: Ints, factors: Doubles | None) -> tuple[float, npt.NDArray[Any]]:
    """Sum of the losses, times factors (n,) if given; the logits are replaced by probabilities in place."""
    logits -= logits.max(axis=1, keepdims=True)
    true = logits[np.arange(len(labels)), labels]
    np.exp(logits, out=logits)
    sums = logits.sum(axis=1)
    logits /= sums[:, None]
    if factors is not None:
        return float(((np.log(sums) - true) * factors).sum(dtype=np.float64)), logits
    return float(np.log(sums).sum(dtype=np.float64) - true.sum(dtype=np.float64)), logits


def _two(logits: npt.NDArray[Any], labels: Ints, factors: Doubles | None) -> tuple[float, npt.NDArray[Any]]:
    """The same for two classes: one logit, replaced by the probability of the second class."""
    signed = np.where(labels == 1, logits[:, 0], -logits[:, 0])
    losses = np.logaddexp(0, -signed)
    return float((losses if factors is None else losses * factors).sum(dtype=np.float64)), expit(logits)


def _subtract_truth(probabilities: npt.NDArray[Any], labels: Ints) -> None:
    if probabilities.shape[1] == 1:
        probabilities[:, 0] -= labels
    else:
        probabilities[np.arange(len(labels)), labels] -= 1
