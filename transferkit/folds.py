"""Folds of cross-validation, for choosing with few images: stratified, repeated, identical images kept together."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from transferkit.arrays import Labels
from transferkit.label_folds import parts_of_labels

Ints = npt.NDArray[np.int64]
Fold = tuple[Ints, Ints]
"""Rows that are fitted, and the rows that are evaluated."""

FOLDS = 5

_PREDICTIONS, _MOST_REPEATS = 600, 3
"""`repeats="auto"`: as many as give this number of predictions in all, from one to three."""

_LARGEST_SEED = 2**32


def make_folds(
    labels: Labels, groups: Ints | None = None, repeats: int = 1, seed: int = 0, splits: int = FOLDS
) -> list[Fold]:
    """Repeated stratified folds, one repeat after the other; in each repeat a row is evaluated at most once.

    Every class is among the fitted rows of every fold. So a row without another of its class (outside its group) is
    never evaluated; with n images of the largest class there are at most n folds, of n - 1 of its images each.

    Args:
        labels: Classes (N,), or several labels of 0 and 1 (N, T), whose shares the folds keep; these may be missing
            among the fitted rows.
        groups: (N,) rows with the same number are never parted: images of the same content.
        repeats: Number of times that the rows are parted anew.
        seed: Of the order of the rows.
        splits: Largest number of folds in a repeat.

    Returns:
        Fitted and evaluated rows of each fold; empty if no row can be evaluated.
    """
    labels, units = np.asarray(labels), np.arange(len(labels)) if groups is None else np.asarray(groups)
    if labels.ndim > 1:
        return _folds_of_labels(labels, units, repeats, seed, min(splits, len(np.unique(units))))
    grouped = len(np.unique(units)) < len(units)
    per_class = [len(np.unique(units[labels == label])) for label in np.unique(labels)]
    count = min(splits, max(per_class, default=0))
    if count < 2:
        return []
    folds: list[Fold] = []
    for repeat in range(repeats):
        kind = StratifiedGroupKFold if grouped else StratifiedKFold
        splitter = kind(count, shuffle=True, random_state=(seed + 7919 * repeat) % _LARGEST_SEED)
        with warnings.catch_warnings():  # that a class has fewer rows than there are folds
            warnings.simplefilter("ignore", UserWarning)
            parts = [test for _, test in splitter.split(labels, labels, units)]
        folds += [_with_every_class(labels, units, test) for test in parts]
    return [fold for fold in folds if len(fold[1])]


def _folds_of_labels(labels: Labels, units: Ints, repeats: int, seed: int, count: int) -> list[Fold]:
    """The folds of several labels at once."""
    folds: list[Fold] = []
    for repeat in range(repeats if count > 1 else 0):
        for held in parts_of_labels(labels, units, count, (seed + 7919 * repeat) % _LARGEST_SEED):
            folds.append((np.setdiff1d(np.arange(len(labels)), held), held))
    return [fold for fold in folds if len(fold[1])]


def _with_every_class(labels: Labels, units: Ints, test: Ints) -> Fold:
    """The fold, with the groups of those classes fitted that would have no fitted row."""
    evaluated = np.zeros(len(labels), dtype=bool)
    evaluated[test] = True
    missing = np.setdiff1d(labels, labels[~evaluated])
    evaluated &= ~np.isin(units, units[np.isin(labels, missing)])
    return np.flatnonzero(~evaluated), np.flatnonzero(evaluated)


def cross_validates(selection: Mapping[str, Any], val: int) -> bool:
    """Whether folds of train and val choose, rather than val.

    Args:
        selection: The group `selection` of the configuration.
        val: Number of images of val.
    """
    name = selection["name"]
    return bool(name == "cv" or (name in ("auto", "last") and val < selection["min_val"]))


@dataclass(frozen=True)
class Chooser:
    """The folds on which stage, C and so on are chosen.

    Attributes:
        folds: As rows of train and val together, train first; a single one, of train and val, where val chooses.
        by: "val", or "cv" for cross-validation.
        repeats: Times that the rows were parted anew.
    """

    folds: list[Fold]
    by: str
    repeats: int = 1

    @property
    def evaluated(self) -> Ints:
        """The rows (M,) that are evaluated in any fold, ascending."""
        return np.unique(np.concatenate([test for _, test in self.folds]))

    def words(self) -> str:
        """The data that choose, in words: "val, 359 images"."""
        if self.by == "val":
            return f"val, {len(self.evaluated)} images"
        return f"cross-validation of train and val, {len(self.evaluated)} images"

    def facts(self) -> dict[str, Any]:
        """The entry `selection` of metrics.json."""
        facts: dict[str, Any] = {"by": self.by, "images": len(self.evaluated)}
        return (
            facts if self.by == "val" else {**facts, "folds": len(self.folds) // self.repeats, "repeats": self.repeats}
        )


def find_chooser(
    selection: Mapping[str, Any], train: Labels, val: Labels, groups: Ints | None = None, seed: int = 0
) -> Chooser:
    """The folds that choose: val itself, or cross-validation of train and val.

    Val itself, too, where no class has two images, so that nothing can be cross-validated.

    Args:
        selection: The group `selection` of the configuration.
        train: Labels of train.
        val: Labels of val.
        groups: Of train and val, as for `make_folds`.
        seed: Of the run.
    """
    rows = np.arange(len(train) + len(val))
    if cross_validates(selection, len(val)):
        repeats = count_repeats(selection, len(rows))
        folds = make_folds(np.concatenate([train, val]), groups, repeats, seed, selection["folds"])
        if folds:
            return Chooser(folds, "cv", repeats)
    return Chooser([(rows[: len(train)], rows[len(train) :])], "val")


def count_repeats(selection: Mapping[str, Any], images: int) -> int:
    """The number of repeats of cross-validation over so many images."""
    given = selection["repeats"]
    return int(given) if given != "auto" else int(np.clip(np.ceil(_PREDICTIONS / max(images, 1)), 1, _MOST_REPEATS))
