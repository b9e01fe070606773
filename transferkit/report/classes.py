"""Confusion matrix, and precision and recall per class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ClassRow:
    """Metrics of one class; NaN if undefined (recall without test images, precision of a class never predicted).

    Attributes:
        name: Of the class.
        precision: Share of the images predicted as this class that belong to it.
        recall: Share of the images of this class that were predicted as such.
        f1: Harmonic mean of both.
        counts: Split name to number of images.
    """

    name: str
    precision: float
    recall: float
    f1: float
    counts: Mapping[str, int]


@dataclass(frozen=True)
class ConfusedPair:
    """`count` images of class `true`, a `share` of its images, were classified as `predicted`."""

    true: str
    predicted: str
    count: int
    share: float


@dataclass(frozen=True)
class Confusion:
    """A confusion matrix.

    Attributes:
        names: K class names.
        counts: (K, K), true class x predicted class.
        shares: The same divided by the images of the true class; 0 where a class has none.
    """

    names: Sequence[str]
    counts: IntArray
    shares: npt.NDArray[np.float64]


def confuse(labels: IntArray, predicted: IntArray, names: Sequence[str]) -> Confusion:
    """Compute the confusion matrix of the classes `names`; `labels` and `predicted` are (N,)."""
    counts = confusion_matrix(labels, predicted, labels=np.arange(len(names)))
    return Confusion(names, counts, counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))


def confused_pairs(confusion: Confusion, limit: int) -> list[ConfusedPair]:
    """Return the most frequent mistakes, at most `limit`; of equally frequent ones the larger share first."""
    wrong = confusion.counts - np.diag(np.diag(confusion.counts))
    true, predicted = np.nonzero(wrong)
    order = np.lexsort((-confusion.shares[true, predicted], -wrong[true, predicted]))[:limit]
    return [
        ConfusedPair(confusion.names[i], confusion.names[j], int(wrong[i, j]), float(confusion.shares[i, j]))
        for i, j in zip(true[order], predicted[order], strict=True)
    ]


def class_rows(
    labels: IntArray, predicted: IntArray, names: Sequence[str], counts: Mapping[str, IntArray]
) -> list[ClassRow]:
    """Return one row per class: the lowest F1 first, then the lowest recall; classes without test images last.

    Args:
        labels: (N,).
        predicted: (N,).
        names: K names.
        counts: Split name to images per class (K,).
    """
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=np.arange(len(names)), zero_division=np.nan
    )
    f1 = np.where(support > 0, f1, np.nan)
    order = np.lexsort((recall, f1))  # NaN sorts last
    return [
        ClassRow(
            name=names[i],
            precision=float(precision[i]),
            recall=float(recall[i]),
            f1=float(f1[i]),
            counts={split: int(per_class[i]) for split, per_class in counts.items()},
        )
        for i in order
    ]
