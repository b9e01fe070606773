"""Runs grouped by their test images: only runs with the same ones are comparable."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from transferkit.compare.collect import FinishedRun
from transferkit.compare.partition import partition

TRAINING_ONLY = ("dataset.per_class", "dataset.fraction", "dataset.val_fraction", "dataset.on_leak")
"""Settings of a data set that do not change its test split."""


@dataclass(frozen=True)
class Comparable:
    """Comparable runs on the same data set.

    If the data set provides no test split, each seed cuts a different one, shared by the runs with that seed.

    Attributes:
        dataset: Its name.
        images: Number of test images.
        runs: At least one.
    """

    dataset: str
    images: int
    runs: Sequence[FinishedRun]


def part_by_test_set(runs: Sequence[FinishedRun]) -> list[Comparable]:
    """Group runs by their test images.

    Two runs belong together if their data set and number of test images are equal, and either the test images are the
    same, or both were cut with the same settings. The latter does not hold if the same settings and seed gave different
    images: then the data have changed in between.
    """
    parts = []
    for same_size in partition(runs, lambda run: (run.metrics["dataset"], run.metrics["test"]["n"])):
        for part in _joined(same_size):
            parts.append(Comparable(part[0].metrics["dataset"], part[0].metrics["test"]["n"], part))
    return sorted(parts, key=lambda part: (part.dataset, -len(part.runs)))


def _joined(runs: Sequence[FinishedRun]) -> list[list[FinishedRun]]:
    """Connected components of `runs`: linked by equal test images or equal settings."""
    links = [part for part in partition(runs, lambda run: run.test_images) if part[0].test_images is not None]
    links += [part for part in partition(runs, _cut) if not _contradict(part)]
    parts = [[run] for run in runs]
    for link in links:
        touched = [part for part in parts if any(run in link for run in part)]
        parts = [part for part in parts if part not in touched] + [[run for part in touched for run in part]]
    return parts


def _cut(run: FinishedRun) -> Hashable:
    """The settings that determine the test images, except the seed."""
    settings = {key: value for key, value in run.settings.items() if key.startswith("dataset.")}
    return tuple(sorted((key, repr(value)) for key, value in settings.items() if key not in TRAINING_ONLY))


def _contradict(runs: Sequence[FinishedRun]) -> bool:
    """Whether runs of the same seed have different test images."""
    return any(len({run.test_images for run in part}) > 1 for part in partition(runs, lambda run: run.metrics["seed"]))
