"""Splits and folds that keep the shares of several labels at once: iterative stratification.

Sechidis et al. 2011, On the Stratification of Multi-Label Data; by the package iterative-stratification.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from transferkit.arrays import Labels
from transferkit.extras import import_extra

Ints = npt.NDArray[np.int64]


def cut_labels(rows: Ints, labels: Labels, total: int, keep: int, seed: int) -> tuple[Ints, Ints]:
    """Part rows in (rest, taken), in proportion to each label.

    Args:
        rows: Positions in `labels` to part.
        labels: 0 and 1, (N, T).
        total: About how many to take: iterative stratification gives up to a few more or fewer.
        keep: How many images with each label stay in the rest at least.
        seed: Of the order.

    Returns:
        Two ascending arrays of positions.
    """
    total = min(total, len(rows) - max(keep, 1))
    if total < 1:
        return rows, rows[:0]
    splitter = stratifiers().MultilabelStratifiedShuffleSplit(
        n_splits=1, test_size=total, train_size=len(rows) - total, random_state=seed
    )
    _, places = next(splitter.split(np.zeros(len(rows)), _with_rest(labels[rows])))
    taken = np.zeros(len(rows), dtype=bool)
    taken[places] = True
    for present in labels[rows].T == 1:
        lacking = min(keep, int(present.sum())) - int((present & ~taken).sum())
        taken[np.flatnonzero(present & taken)[: max(lacking, 0)]] = False
    return np.sort(rows[~taken]), np.sort(rows[taken])


def parts_of_labels(labels: Labels, units: Ints, count: int, seed: int) -> list[Ints]:
    """Part rows into folds that keep the shares of each label.

    Args:
        labels: 0 and 1, (N, T).
        units: (N,) rows with the same number are never parted; the labels of the first count.
        count: Number of folds.
        seed: Of the order.

    Returns:
        The rows of each fold, ascending.
    """
    _, first, unit = np.unique(units, return_index=True, return_inverse=True)
    splitter = stratifiers().MultilabelStratifiedKFold(count, shuffle=True, random_state=seed)
    parts = [held for _, held in splitter.split(np.zeros(len(first)), _with_rest(labels[first]))]
    return [np.flatnonzero(np.isin(unit.reshape(-1), held)) for held in parts]


def _with_rest(labels: Labels) -> Labels:
    """The labels, and one of those images that have none: a single column would count as classes."""
    return np.column_stack([labels, ~labels.any(axis=1)]).astype(np.int64)


def stratifiers() -> Any:
    """Return the module of iterative stratification.

    Raises:
        TransferkitError: It is not installed.
    """
    need = "dataset.target=multilabel needs iterative-stratification"
    (module,) = import_extra(need, "multilabel", "iterstrat.ml_stratifiers")
    return module
