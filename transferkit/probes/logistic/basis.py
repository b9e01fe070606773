"""Standardisation of features and rotation into their principal directions: one factorisation for all values of C."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transferkit.arrays import Doubles, release_pages
from transferkit.probes.scaling import ShrunkScaler

Head = tuple[Doubles, Doubles]
"""Weights and intercepts, (K, D) and (K,); for two classes (1, D) and (1,), as in scikit-learn."""

Part = npt.NDArray[Any] | list[npt.NDArray[Any]]

MOST_DIRECTIONS = 4096
"""Maximum number of rows or features, whichever are fewer, for a factorisation (cubic in them) to pay."""

BLOCK = 2**21
"""Values in memory at a time: 16 MB in double precision."""

_RANK = 1e-12
"""Directions with a smaller fraction of the largest variance are rounding errors."""


class Stack:
    """Features (N, D) as a concatenation of arrays, read in blocks of rows, so that they may be on disk.

    Args:
        parts: One or more arrays below each other, (n, D) each; or, of each, several side by side, (n, d) each.
        chosen: Ascending rows of the concatenation; by default all.
    """

    def __init__(self, parts: Sequence[Part], chosen: npt.NDArray[np.int64] | None = None) -> None:
        self._parts = [part if isinstance(part, list) else [part] for part in parts]
        self._chosen = chosen
        count = sum(len(columns[0]) for columns in self._parts) if chosen is None else len(chosen)
        self.shape = (count, sum(int(array.shape[1]) for array in self._parts[0]))

    def rows(self, chosen: npt.NDArray[np.int64]) -> "Stack":
        """These rows (ascending) of the stack, as a stack."""
        return Stack(self._parts, chosen if self._chosen is None else self._chosen[chosen])

    def blocks(self) -> Iterator[tuple[slice, npt.NDArray[Any]]]:
        """Slices of the stack and their rows; without copying, where all rows of single arrays are read."""
        step, done, start = max(1, BLOCK // self.shape[1]), 0, 0
        for columns in self._parts:
            end = start + len(columns[0])
            for taken in self._places(start, end, step):
                blocks = [array[taken] for array in columns]
                block = blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)
                yield slice(done, done + len(block)), block
                done += len(block)
                for array in columns:
                    release_pages(array)
            start = end

    def _places(self, start: int, end: int, step: int) -> Iterator[Any]:
        """Slices or indices into the part that holds rows `start` to `end`, up to `step` rows each."""
        if self._chosen is None:
            yield from (slice(first, first + step) for first in range(0, end - start, step))
            return
        mine = self._chosen[np.searchsorted(self._chosen, start) : np.searchsorted(self._chosen, end)] - start
        for first in range(0, len(mine), step):
            rows = mine[first : first + step]
            whole = rows[-1] - rows[0] + 1 == len(rows)
            yield slice(rows[0], rows[-1] + 1) if whole else rows


class Basis:
    """Centring, scaling and rotation of features into their principal directions.

    The penalty of logistic regression is invariant under rotation, and therefore so is the solution. Along the
    principal directions the problem has at most as many unknowns as rows, and its Hessian is nearly diagonal, so that
    each direction can be scaled by its curvature. With fewer rows than features the directions are linear combinations
    of rows, computed from the Gram matrix (N, N), and not formed explicitly; else they come from the covariance (D, D).
    If both are above 4096, the features are not rotated.

    Args:
        X: The rows that are fitted, N of them.
        scaler: Gets mean and scale of these rows; None: features are centred, but not scaled.

    Attributes:
        variances: (R,) mean square of these rows along each direction.
        width: D.
        rotated: Whether the directions are principal ones, so that the rows are uncorrelated along them.
        rows: (N, R) these rows along the directions, if the factorisation computed them; else None.
    """

    def __init__(self, X: Stack, scaler: ShrunkScaler | None) -> None:
        count, width = X.shape
        moments = (scaler or ShrunkScaler()).fit_blocks(block for _, block in X.blocks())
        self._mean: Doubles = moments.mean_
        self._scale: Doubles = np.ones(width) if scaler is None else scaler.scale_
        self._span: Stack | None = None  # the directions are linear combinations of these
        self._directions: Doubles | None = None  # (D, R); coefficients of combinations (N, R)
        self.variances: Doubles = moments.var_ / self._scale**2
        self.rows: Doubles | None = None
        self.width, self.rotated = width, min(count, width) <= MOST_DIRECTIONS
        if not self.rotated:
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
        """(M, R): raw features along the directions; orthogonal components have zero weights."""
        return self._inside(self.standard(X))

    def gradient_inside(self, gradient: Doubles) -> Doubles:
        """(K, R): the gradient in the basis from that with respect to weights on centred features, (K, D)."""
        return self._inside(gradient / self._scale)

    def weights_outside(self, weights: Doubles) -> Doubles:
        """(K, D): the weights on centred features with the same logits as these weights (K, R) in the basis."""
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
        """The head on raw features with the same logits as this head in the basis."""
        weights = self.weights_outside(head[0])
        return weights, head[1] - weights @ self._mean

    def head_inside(self, head: Head) -> Head:
        """The head in the basis with the same logits as this head on raw features."""
        return self._inside(head[0] * self._scale), head[1] + head[0] @ self._mean

    def _covariance(self, X: Stack) -> Doubles:
        """Covariance (D, D), times the number of rows."""
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
        """(M, N): inner products with all spanning rows."""
        assert self._span is not None
        return np.concatenate([vectors @ self.standard(block).T for _, block in self._span.blocks()], axis=1)


def two_sided(logits: Doubles) -> Doubles:
    """Two columns from scikit-learn's one for two classes, with the same probabilities."""
    return np.concatenate([-logits, logits], axis=1) / 2 if logits.shape[1] == 1 else logits


def both_sides(head: Head) -> Head:
    """One row per class for two classes, with the same probabilities; other heads are unchanged."""
    coef, intercept = head
    if len(coef) > 1:
        return head
    return np.concatenate([-coef, coef]) / 2, np.concatenate([-intercept, intercept]) / 2


def _principal(squares: Doubles) -> tuple[Doubles, Doubles]:
    """Eigenvalues (R,) above rounding errors (at least one), and their eigenvectors (N, R)."""
    values, vectors = np.linalg.eigh(squares)
    real = values > _RANK * values[-1]
    real[-1] = True
    return np.maximum(values[real], 0), vectors[:, real]
