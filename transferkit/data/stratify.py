"""Stratified, seeded sampling of rows by class."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from transferkit.arrays import Labels
from transferkit.label_folds import cut_labels

Rows = NDArray[np.int64]
Counts = NDArray[np.int64]


def cut(rows: Rows, labels: Labels, total: int, keep: int, seed: int, stream: int) -> tuple[Rows, Rows]:
    """Part rows in (rest, taken), in proportion to the classes, or to each of several labels.

    Args:
        rows: Positions in `labels` to part.
        labels: Class of every position, shape (N,), or its labels, 0 and 1, shape (N, T).
        total: How many to take; fewer when `keep` does not allow it.
        keep: How many of each class, or of each label, stay in the rest at least.
        seed: Of the run.
        stream: Makes samples for different purposes independent.

    Returns:
        Two ascending arrays of positions.
    """
    if labels.ndim > 1:
        return cut_labels(rows, labels, total, keep, int(np.random.default_rng([seed, stream]).integers(2**32)))
    classes, sizes = np.unique(labels[rows], return_counts=True)
    tie_break = np.random.default_rng([seed, stream, 1]).permutation(len(classes))
    counts = apportion(sizes, total, np.maximum(sizes - keep, 0), tie_break)
    return take(rows, labels, dict(zip(classes.tolist(), counts.tolist(), strict=True)), seed, stream)


def take(rows: Rows, labels: Labels, counts: Mapping[int, int], seed: int, stream: int) -> tuple[Rows, Rows]:
    """Part rows in (rest, taken), so many taken of each class.

    They are the first of each class in an order that the seed decides, so that of the same rows a smaller sample is a
    part of a larger one.
    """
    order = np.random.default_rng([seed, stream]).permutation(len(rows))
    shuffled = rows[order[np.argsort(labels[rows][order], kind="stable")]]  # by class, in random order within each
    classes, starts, sizes = np.unique(labels[shuffled], return_index=True, return_counts=True)
    place = np.arange(len(shuffled)) - np.repeat(starts, sizes)
    taken = place < np.repeat([counts[c] for c in classes.tolist()], sizes)
    return np.sort(shuffled[~taken]), np.sort(shuffled[taken])


def first_copies(rows: Rows, contents: Rows) -> Rows:
    """Of rows (ascending) of the same content only the first; `contents` has the number of each position's content."""
    _, first = np.unique(contents[rows], return_index=True)
    return rows[np.sort(first)]


def with_copies(rows: Rows, taken: Rows, labels: Labels, contents: Rows) -> tuple[Rows, Rows]:
    """Part rows in (rest, taken), where all rows of a taken row's content are taken with it.

    A class of which nothing would be left, since others' copies are of it, gets its first content back.

    Args:
        rows: Ascending positions.
        taken: Some of them.
        labels: Class of every position, shape (N,), or its labels, 0 and 1, shape (N, T).
        contents: Number of the content of every position, shape (N,).
    """
    goes = np.isin(contents[rows], contents[taken])
    if labels.ndim > 1:  # `cut_labels` has kept some of each label, and copies have the same
        return rows[~goes], rows[goes]
    for label in np.setdiff1d(labels[rows], labels[rows[~goes]]):
        if not (labels[rows[~goes]] == label).any():  # what another class got back may have brought some
            first = rows[labels[rows] == label][0]
            goes &= contents[rows] != contents[first]
    return rows[~goes], rows[goes]


def apportion(sizes: Counts, total: int, most: Counts, tie_break: NDArray[np.int64]) -> Counts:
    """Share `total` among classes in proportion to their sizes, by largest remainders (Hamilton's method).

    Args:
        sizes: Images of each class.
        total: What the shares sum to, or the sum of `most` if that is smaller.
        most: Upper bound of each share.
        tie_break: A permutation of the classes; of equal remainders the lower number comes first.
    """
    total = min(total, int(most.sum()))
    quota = sizes * (total / max(int(sizes.sum()), 1))
    shares: Counts = np.minimum(np.floor(quota).astype(np.int64), most)
    while (missing := total - int(shares.sum())) > 0:
        open_classes = np.flatnonzero(shares < most)
        order = np.lexsort((tie_break[open_classes], shares[open_classes] - quota[open_classes]))
        shares[open_classes[order[:missing]]] += 1
    return shares
