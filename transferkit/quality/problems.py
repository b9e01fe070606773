"""One problem of the data, the kinds of problems, and the table `problems.csv`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from transferkit.arrays import Labels
from transferkit.data.imagedata import ImageData
from transferkit.data.problem_table import HEADER
from transferkit.files import write_csv

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Kind:
    """A kind of problem.

    Attributes:
        title: For people.
        meaning: What it is, and what the score says, in a sentence or two.
    """

    title: str
    meaning: str


KINDS: dict[str, Kind] = {
    "duplicate": Kind(
        "Duplicates",
        "Images with the same content as another one, byte by byte. One image of each group is not listed: "
        "one of test, else of val, else the first of train.",
    ),
    "near_duplicate": Kind(
        "Near-duplicates",
        "Images that are another image of the set saved again: in another size, quality or brightness. Mirrored "
        "and cropped copies are not looked for. The score is the cosine similarity of the features.",
    ),
    "label": Kind(
        "Suspected label errors",
        "Images whose label the confident-learning method doubts (cleanlab), by a probe that was fitted without them. "
        "The score is the probability of the given label; the suggested label is the most probable one.",
    ),
    "outlier": Kind(
        "Outliers",
        "Images that are far from the images of train and val in feature space. The score is the modified z-score of "
        "the cosine distance to a near neighbour.",
    ),
    "tiny": Kind(
        "Tiny images",
        "Images whose shorter side is less than a quarter of the median. The score is the shorter side in pixels.",
    ),
    "elongated": Kind(
        "Elongated images",
        "Images more than three times as long as wide, and twice as elongated as the median image: the crop "
        "of the network may miss most of it. The score is the ratio of the sides.",
    ),
    "constant": Kind(
        "Nearly constant images",
        "Images of almost one gray level. The score is the standard deviation of the gray levels, of 255.",
    ),
    "colour": Kind(
        "Rare kinds of colour",
        "Gray images among coloured ones, transparent ones among opaque ones and so on: kinds that at most 5 % of the "
        "images have. The score is the share of the images of that kind.",
    ),
    "confused_classes": Kind(
        "Classes that are hard to tell apart",
        "Pairs of classes, by a probe that was fitted without the image: the score is the share of the images of "
        "both to which it gives the other class a higher probability than their own; 50 % is chance.",
    ),
    "few_images": Kind(
        "Classes with few images",
        "Classes with fewer images of train and val than there are folds of cross-validation, so that some folds "
        "have none of them. The score is the number of images.",
    ),
    "imbalance": Kind(
        "Class imbalance",
        "Classes with less than a tenth of the images of the largest class, in train and val. The score is the number "
        "of images.",
    ),
}
"""In the order of the table and the page; the names are those of `choices.ProblemKind`."""


@dataclass(frozen=True)
class Problem:
    """One row of the table.

    Attributes:
        kind: One of `KINDS`.
        row: Of the image in `AllImages`; None for problems of classes.
        label: Name of the class of the image, or the class itself.
        score: See `KINDS`.
        related: Row of the image that it is a duplicate of, or None.
        suggested: Name of another class: the suggested label, the label of the related image if it differs, or the
            other class of a pair.
        note: Figures in words.
    """

    kind: str
    row: int | None
    label: str
    score: float
    related: int | None = None
    suggested: str = ""
    note: str = ""


class AllImages:
    """All images of a data set in one numbering: train, then val, then test.

    Args:
        data: The splits.

    Attributes:
        labels: (N,).
        splits: (N,) 0 for train, 1 for val, 2 for test.
        fit: Number of images of train and val.
    """

    NAMES = ("train", "val", "test")

    def __init__(self, data: ImageData) -> None:
        self.data = data
        self.sets = [data.train, data.val, data.test]
        self.sizes = [len(images) for images in self.sets]
        self.labels: Labels = np.concatenate([images.labels for images in self.sets])
        self.splits = np.repeat(np.arange(3), self.sizes)
        self.fit = self.sizes[0] + self.sizes[1]
        self.names = [name for images in self.sets for name in images.names]

    def __len__(self) -> int:
        return len(self.labels)

    def split(self, row: int) -> str:
        """Name of the split of a row."""
        return self.NAMES[int(self.splits[row])]

    def label(self, row: int) -> str:
        """Name of the class of a row."""
        return self.data.class_names[int(self.labels[row])]

    def keep_first(self, rows: Sequence[int] | Ints) -> Ints:
        """The rows by which is to be kept: test before val before train, then as given."""
        rows = np.sort(np.asarray(rows, dtype=np.int64))
        return rows[np.argsort(-self.splits[rows], kind="stable")]


def write_problems(path: Path, problems: Iterable[Problem], images: AllImages) -> None:
    """Write the table, which `dataset.exclude` reads."""
    write_csv(path, HEADER, (_cells(problem, images) for problem in problems))


def _cells(problem: Problem, images: AllImages) -> list[object]:
    row, other = problem.row, problem.related
    return [
        problem.kind,
        "" if row is None else images.split(row),
        "" if row is None else images.names[row],
        problem.label,
        "" if other is None else images.names[other],
        "" if other is None else images.split(other),
        problem.suggested,
        f"{problem.score:.6g}",
        problem.note,
    ]
