"""Which runs report on the same test images: only those may stand in one table."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from transferkit.compare.collect import FinishedRun
from transferkit.compare.partition import partition

TRAINING_ONLY = ("dataset.per_class", "dataset.fraction", "dataset.val_fraction")
"""Settings of a data set that leave its test split as it is."""


@dataclass(frozen=True)
class Comparable:
    """Runs on the same data set that may be compared.

    Where the data set has no test split of its own, each seed cuts another one: then runs of equal seeds share it.

    Attributes:
        dataset: Its name.
        images: Of test.
        runs: At least one.
    """

    dataset: str
    images: int
    runs: Sequence[FinishedRun]


def part_by_test_set(runs: Sequence[FinishedRun]) -> list[Comparable]:
    """Group runs by what they were tested on.

    Two runs belong together if their data set and number of test images are equal, and either the test images are the
    same, or both follow from equal settings. The second does not hold for settings that gave different images for the
    same seed: the data have changed in between.
    """
    parts = []
    for same_size in partition(runs, lambda run: (run.metrics["dataset"], run.metrics["test"]["n"])):
        for part in _joined(same_size):
            parts.append(Comparable(part[0].metrics["dataset"], part[0].metrics["test"]["n"], part))
    return sorted(parts, key=lambda part: (part.dataset, -len(part.runs)))


def _joined(runs: Sequence[FinishedRun]) -> list[list[FinishedRun]]:
    """Part `runs` by the links between them; a run without a link to another is a part of its own."""
    links = [part for part in partition(runs, lambda run: run.test_images) if part[0].test_images is not None]
    links += [part for part in partition(runs, _cut) if not _contradict(part)]
    parts = [[run] for run in runs]
    for link in links:
        touched = [part for part in parts if any(run in link for run in part)]
        parts = [part for part in parts if part not in touched] + [[run for part in touched for run in part]]
    return parts


def _cut(run: FinishedRun) -> Hashable:
    """The settings that decide which images test holds, but for the seed."""
    settings = {key: value for key, value in run.settings.items() if key.startswith("dataset.")}
    return tuple(sorted((key, repr(value)) for key, value in settings.items() if key not in TRAINING_ONLY))


def _contradict(runs: Sequence[FinishedRun]) -> bool:
    """Whether runs of the same seed have different test images."""
    return any(len({run.test_images for run in part}) > 1 for part in partition(runs, lambda run: run.metrics["seed"]))
