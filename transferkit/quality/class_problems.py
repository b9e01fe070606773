"""Problems of classes: pairs that cannot be told apart, and classes with few images."""

import numpy as np

from transferkit.arrays import Labels, Probabilities
from transferkit.metrics import wilson_interval
from transferkit.quality.held_out_probe import HeldOut
from transferkit.quality.problems import AllImages, Ints, Problem

IMBALANCE = 10
"""A class is small if the largest has so many times its images; Buda, Maki & Mazurowski 2018 (A systematic study of the
class imbalance problem in convolutional neural networks) find losses of accuracy from such ratios on."""


def confused_problems(images: AllImages, held_out: HeldOut, least: float) -> list[Problem]:
    """Pairs of classes that a probe confuses in at least this share of their images, with 95 % confidence.

    Args:
        images: All.
        held_out: Those of train and val are used.
        least: What the lower bound of the interval of the share must reach.
    """
    rows = np.flatnonzero(held_out.predicted[: images.fit])
    labels, names = images.labels[rows], images.data.class_names
    wrong, counts = preferred(labels, held_out.probabilities[rows]), np.bincount(labels, minlength=len(names))
    found = []
    for a, b in np.argwhere(np.triu(wrong + wrong.T, 1) > 0).tolist():
        count, n = int(wrong[a, b] + wrong[b, a]), int(counts[a] + counts[b])
        if count / n < least:
            continue
        low, high = wilson_interval(count, n)
        if low >= least:
            chance = "; chance is within it" if high >= 0.5 else ""
            note = f"{count} of {n} images, 95 % interval {100 * low:.1f} to {100 * high:.1f} %{chance}"
            found.append(Problem("confused_classes", None, names[a], count / n, suggested=names[b], note=note))
    return sorted(found, key=lambda problem: -problem.score)


def preferred(labels: Labels, probabilities: Probabilities) -> Ints:
    """(K, K) numbers of images of class a (row) for which class b (column) is more probable than a."""
    classes = probabilities.shape[1]
    found = np.zeros((classes, classes), dtype=np.int64)
    for label in np.unique(labels):
        own = probabilities[labels == label]
        found[label] = (own > own[:, [label]]).sum(axis=0)
    return found


def class_size_problems(images: AllImages, folds: int) -> list[Problem]:
    """Classes with fewer images than folds; and those with less than a tenth of the images of the largest class."""
    counts = np.bincount(images.labels[: images.fit], minlength=len(images.data.class_names))
    largest, found = int(counts.max()), []
    order = np.argsort(counts, kind="stable").tolist()
    for kind, small, note in (
        ("few_images", counts < folds, f"cross-validation has {folds} folds"),
        ("imbalance", counts * IMBALANCE < largest, f"the largest class has {largest:,}"),
    ):
        names = images.data.class_names
        found += [Problem(kind, None, names[i], float(counts[i]), note=note) for i in order if small[i]]
    return found
