"""All checks of a data set, from one extraction and one quick pass over the files."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from transferkit.arrays import Features
from transferkit.backbones.backbone import Backbone
from transferkit.data.imagedata import ImageData
from transferkit.features.from_settings import Extract
from transferkit.progress import progress
from transferkit.quality.class_problems import class_size_problems, confused_problems
from transferkit.quality.duplicates import (
    copy_thresholds,
    count_copies,
    duplicate_problems,
    find_identical_groups,
    find_near_groups,
    group_numbers,
)
from transferkit.quality.held_out_probe import HeldOut, predict_held_out
from transferkit.quality.image_facts import ImageFacts, find_facts
from transferkit.quality.label_errors import label_problems
from transferkit.quality.odd_images import odd_problems
from transferkit.quality.outliers import Distances, measure_distances, outlier_problems
from transferkit.quality.problems import KINDS, AllImages, Problem

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checked:
    """The problems of a data set.

    Attributes:
        images: All images.
        problems: In the order of `KINDS`, the most telling ones of each kind first.
        facts: Thresholds and figures of the checks, plain values.
    """

    images: AllImages
    problems: list[Problem]
    facts: dict[str, Any]

    def of_kind(self, kind: str) -> list[Problem]:
        """The problems of one kind."""
        return [problem for problem in self.problems if problem.kind == kind]

    def counts(self) -> dict[str, Any]:
        """By kind, the number of problems, in all and by split; of duplicates also those across splits and labels."""
        found: dict[str, Any] = {}
        for kind in KINDS:
            rows = self.of_kind(kind)
            found[kind] = {"all": len(rows)}
            splits = Counter(self.images.split(problem.row) for problem in rows if problem.row is not None)
            found[kind] |= {name: splits[name] for name in AllImages.NAMES if splits[name]}
            if kind in ("duplicate", "near_duplicate"):
                found[kind] |= count_copies(self.images, rows)
        return found


def find_problems(backbone: Backbone, data: ImageData, settings: Mapping[str, Any], extract: Extract) -> Checked:
    """Check a data set with the features of a frozen backbone; nothing is removed, and nothing is chosen on test.

    Args:
        backbone: With its weights; features are those of its top stage.
        data: The splits.
        settings: The resolved configuration: `task`, `selection`, `seed`.
        extract: Computes features, or reads them from the cache.
    """
    images, task = AllImages(data), settings["task"]
    splits = [extract(backbone, part, [backbone.top])[backbone.top] for part in images.sets]
    facts = _facts(images)
    identical = find_identical_groups(images)
    thresholds = copy_thresholds(backbone, images, splits[0], facts.small, extract)
    near = find_near_groups(images, splits, facts.small, identical, thresholds)
    held_out = predict_held_out(
        images, splits, group_numbers(images, [*identical, *near]), settings["selection"], settings["seed"]
    )
    distances = measure_distances(images, splits, task["neighbors"], task["outlier"])
    problems = [
        *duplicate_problems(images, "duplicate", identical, splits),
        *duplicate_problems(images, "near_duplicate", near, splits),
        *(label_problems(images, held_out) if task["labels"] else []),
        *outlier_problems(images, distances, task["outlier"]),
        *odd_problems(images, facts),
        *confused_problems(images, held_out, task["confused"]),
        *class_size_problems(images, settings["selection"]["folds"]),
    ]
    figures = {"near_duplicates": asdict(thresholds), **_figures(images, splits, held_out, distances)}
    return Checked(images, problems, figures)


def _facts(images: AllImages) -> ImageFacts:
    with progress("Looking at images", len(images)) as advance:
        parts = [find_facts(part, advance) for part in images.sets]
    return ImageFacts(
        np.concatenate([part.sizes for part in parts]),
        [kind for part in parts for kind in part.kinds],
        np.concatenate([part.deviations for part in parts]),
        np.concatenate([part.small for part in parts]),
    )


def _figures(images: AllImages, splits: Sequence[Features], held_out: HeldOut, distances: Distances) -> dict[str, Any]:
    rows = np.arange(images.fit, len(images))
    right = held_out.probabilities[rows].argmax(axis=1) == images.labels[rows]
    return {
        "probe": {
            "features": int(splits[0].shape[1]),
            "C": held_out.C,
            "out_of_fold_top1": held_out.top1,
            "test_top1": float(right.mean()),
            **held_out.chooser.facts(),
        },
        "outliers": {
            "neighbors": distances.k,
            "threshold": distances.threshold if np.isfinite(distances.threshold) else None,
        },
    }
