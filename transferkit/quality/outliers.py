"""Outliers: images far from all others in feature space."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from transferkit.arrays import Features
from transferkit.probes.neighbors import nearest
from transferkit.quality.problems import AllImages, Problem

NORMAL_MAD = 0.6745
"""Median absolute deviation of the standard normal distribution."""


@dataclass(frozen=True)
class Distances:
    """Distances to the k-th nearest image of train and val, and when they are unusual.

    Attributes:
        values: (N,) cosine distance, of all images.
        scores: (N,) their modified z-scores.
        k: Neighbours counted.
        threshold: Distance from which the score is too large.
    """

    values: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]
    k: int
    threshold: float


def measure_distances(images: AllImages, splits: Sequence[Features], k: int, largest: float) -> Distances:
    """Measure how far every image is from the k-th nearest of train and val, itself not counted.

    The distance on features of unit length is the score of Sun et al. 2022 (Out-of-Distribution Detection with Deep
    Nearest Neighbors). The threshold comes from the data: the modified z-score of Iglewicz and Hoaglin 1993 (How to
    Detect and Handle Outliers), 0.6745 (x - median) / MAD, above 3.5. Median and MAD are those of train and val.

    Args:
        images: All.
        splits: Features (n, D) of train, val and test.
        k: Neighbours; as many as train and val have, at most.
        largest: Score up to which an image is no outlier.
    """
    k = max(1, min(k, images.fit - 1))
    values = np.concatenate([_kth(queries, splits[:2], k, own) for own, queries in enumerate(splits)])
    middle = float(np.median(values[: images.fit]))
    spread = float(np.median(np.abs(values[: images.fit] - middle))) / NORMAL_MAD
    if spread == 0:
        return Distances(values, np.zeros(len(values)), k, np.inf)
    return Distances(values, (values - middle) / spread, k, middle + largest * spread)


def outlier_problems(images: AllImages, distances: Distances, largest: float) -> list[Problem]:
    """The images with a larger score, the farthest first."""
    rows = np.flatnonzero(distances.scores > largest)
    return [
        Problem(
            "outlier",
            row,
            images.label(row),
            float(distances.scores[row]),
            note=f"cosine distance {distances.values[row]:.3f}, threshold {distances.threshold:.3f}",
        )
        for row in rows[np.argsort(-distances.scores[rows], kind="stable")].tolist()
    ]


def _kth(queries: Features, galleries: Sequence[Features], k: int, own: int) -> npt.NDArray[np.float64]:
    """Cosine distance (n,) to the k-th nearest row of the galleries, where queries are themselves gallery `own`."""
    found = []
    for number, gallery in enumerate(galleries):
        if len(gallery):
            distances, rows = nearest(queries, gallery, min(k + 1, len(gallery)), "cosine")
            values = distances.numpy().astype(np.float64) ** 2 / 2
            if number == own:
                values[rows.numpy() == np.arange(len(queries))[:, None]] = np.inf
            found.append(values)
    return np.sort(np.concatenate(found, axis=1), axis=1)[:, k - 1]
