"""Features standardised, and seen along the directions in which they vary: one factorisation for all values of C."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.preprocessing import StandardScaler

from transferkit.arrays import Doubles, release_pages

Head = tuple[Doubles, Doubles]
"""Weights and intercepts, (K, D) and (K,); of two classes (1, D) and (1,), as scikit-learn has them."""

MOST_DIRECTIONS = 4096
"""Rows or features, whichever are fewer, beyond which a factorisation (cubic in them) would take more than it saves."""

BLOCK = 2**21
"""Values that are looked at together: 16 MB in double precision."""

_RANK = 1e-12
"""Directions with less than this part of the largest variance are rounding errors."""


class Stack:
    """Features (N, D), whose parts lie one after the other; read in blocks of rows, so that parts may lie on disk.

    Args:
        parts: One array or more, (n, D) each.
    """

    def __init__(self, parts: Sequence[npt.NDArray[Any]]) -> None:
        self._parts = parts
        self.shape = (sum(map(len, parts)), int(parts[0].shape[1]))

    def blocks(self) -> Iterator[tuple[slice, npt.NDArray[Any]]]:
        """Where in the stack, and the rows there; none is copied."""
        step, done = max(1, BLOCK // self.shape[1]), 0
        for part in self._parts:
            for first in range(0, len(part), step):
                block = part[first : first + step]
                yield slice(done, done + len(block)), block
                done += len(block)
                release_pages(part)


class Basis:
    """Where features are centred, how they are scaled, and the directions into which they are then rotated.

    The penalty of logistic regression does not change under rotation, nor does, therefore, the solution. Along the
    principal directions the problem has no more unknowns than there are rows, and its Hessian is nearly diagonal, so
    that the solver knows how long a step along each of them should be. With fewer rows than features the directions are
    combinations of rows, found from the products of all pairs of rows (N, N), and not written out; else they come from
    the covariance (D, D). Where both are above 4096, the features stay as they are.

    Args:
        X: The rows that are fitted, N of them.
        standardize: Whether to scale every feature to unit variance.

    Attributes:
        variances: (R,) mean square of these rows along each direction.
        rows: (N, R) these rows along the directions, where that came with the factorisation; else None.
    """

    def __init__(self, X: Stack, standardize: bool) -> None:
        count, width = X.shape
        scaler = StandardScaler(with_std=standardize)
        for _, block in X.blocks():
            scaler.partial_fit(block.astype(np.float64))
        self._mean: Doubles = scaler.mean_
        self._scale: Doubles = np.ones(width) if scaler.scale_ is None else scaler.scale_
        self._span: Stack | None = None  # whose combinations the directions are
        self._directions: Doubles | None = None  # (D, R); of combinations, (N, R)
        self.variances: Doubles = scaler.var_ / self._scale**2 if standardize else _variances(X, self._mean)
        self.rows: Doubles | None = None
        if min(count, width) > MOST_DIRECTIONS:
            return
        if count <= width:
            self._span = X
            products = np.concatenate([self._dot(self.standard(block)) for _, block in X.blocks()])
            squares, directions = _principal(products)
            lengths = np.sqrt(squares)
            self.rows = directions * lengths
            self._directions = np.divide(directions, lengths, out=np.zeros_like(directions), where=lengths > 0)
        else:
            squares, self._directions = _principal(self._covariance(X))
        self.variances = squares / count

    def centred(self, X: npt.NDArray[Any], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Raw features (M, D), centred but not scaled."""
        centred = X.astype(dtype)
        centred -= self._mean.astype(dtype)
        return centred

    def standard(self, X: npt.NDArray[Any]) -> Doubles:
        """Raw features (M, D), centred and scaled."""
        standard: Doubles = self.centred(X, np.float64)
        standard /= self._scale
        return standard

    def project(self, X: npt.NDArray[Any]) -> Doubles:
        """(M, R): raw features along the directions; what is orthogonal to them meets only zero weights."""
        return self._inside(self.standard(X))

    def gradient_inside(self, gradient: Doubles) -> Doubles:
        """(K, R): the gradient by weights inside from that by weights on centred features, (K, D)."""
        return self._inside(gradient / self._scale)

    def weights_outside(self, weights: Doubles) -> Doubles:
        """(K, D): the weights that give on centred features the logits of these, (K, R), inside."""
        if self._directions is None:
            return weights / self._scale
        weights = weights @ self._directions.T
        if self._span is not None:
            outside = np.zeros((len(weights), len(self._scale)))
            for where, block in self._span.blocks():
                outside += weights[:, where] @ self.standard(block)
            weights = outside
        return weights / self._scale

    def head_outside(self, head: Head) -> Head:
        """The head that gives on raw features the logits of this one inside."""
        weights = self.weights_outside(head[0])
        return weights, head[1] - weights @ self._mean

    def head_inside(self, head: Head) -> Head:
        """The head that gives inside the logits of this one on raw features."""
        return self._inside(head[0] * self._scale), head[1] + head[0] @ self._mean

    def _covariance(self, X: Stack) -> Doubles:
        """(D, D), times the number of rows."""
        products = np.zeros((X.shape[1], X.shape[1]))
        for _, block in X.blocks():
            rows = self.standard(block)
            products += rows.T @ rows
        return products

    def _inside(self, vectors: Doubles) -> Doubles:
        if self._directions is None:
            return vectors
        return (vectors if self._span is None else self._dot(vectors)) @ self._directions

    def _dot(self, vectors: Doubles) -> Doubles:
        """(M, N): products with all rows of the span."""
        assert self._span is not None
        return np.concatenate([vectors @ self.standard(block).T for _, block in self._span.blocks()], axis=1)


def _principal(squares: Doubles) -> tuple[Doubles, Doubles]:
    """Eigenvalues (R,) above rounding errors (one at least), and their vectors (N, R)."""
    values, vectors = np.linalg.eigh(squares)
    real = values > _RANK * values[-1]
    real[-1] = True
    return np.maximum(values[real], 0), vectors[:, real]


def _variances(X: Stack, mean: Doubles) -> Doubles:
    """Of every feature."""
    return sum((np.square(block - mean).sum(axis=0) for _, block in X.blocks()), np.zeros(len(mean))) / X.shape[0]
