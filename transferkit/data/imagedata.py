"""A data set as it lies there, and as it is used."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from transferkit.arrays import Labels
from transferkit.data.identical import Identical, number_contents
from transferkit.data.imageset import ImageSet
from transferkit.errors import shown_text
from transferkit.targets.class_target import ClassTarget
from transferkit.targets.target import Target


@dataclass(frozen=True)
class Excluded:
    """Images that `dataset.exclude` left out.

    Attributes:
        file: The list, absolute.
        images: Number of images by the split that the data set comes with.
        unmatched: Entries of the list that match no image.
    """

    file: str
    images: Mapping[str, int]
    unmatched: int

    def facts(self) -> dict[str, Any]:
        """The entry of metrics.json."""
        return {"file": shown_text(self.file), "images": dict(self.images), "unmatched": self.unmatched}


@dataclass(frozen=True)
class RawData:
    """A data set with the splits that it comes with.

    Attributes:
        class_names: Name of each label.
        splits: "train", and "val" and "test" where the set has them; "train" alone means that nothing is split yet.
        note: What else is to be said of the set, in half a sentence.
        ignored: Files that are no images that can be read here, counted by extension.
        skipped: (path, reason) of what could not be looked into and was left out.
        excluded: Images left out by `dataset.exclude`; None if it is not set.
        other_target: The meaning of the labels where they are no classes; then `class_names` are those of its labels or
            values.
    """

    class_names: list[str]
    splits: dict[str, ImageSet]
    note: str = ""
    ignored: Mapping[str, int] = field(default_factory=dict)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    excluded: Excluded | None = None
    other_target: Target | None = None

    @property
    def target(self) -> Target:
        """The meaning of the labels."""
        return self.other_target or ClassTarget(tuple(self.class_names))

    def gone(self, train: ImageSet) -> list[str]:
        """The classes or labels that some image of train has, and none of these that are left of it."""
        before, after = (self.target.counts(images.labels) for images in (self.splits["train"], train))
        return [self.class_names[k] for k in np.flatnonzero((before > 0) & (after == 0))]


@dataclass(frozen=True)
class ImageData:
    """A data set ready for use: three splits, every class present in train.

    Attributes:
        name: The name of the data set's configuration.
        class_names: Name of each label.
        train: What is fitted to.
        val: What choices are made on.
        test: What is reported, and never chosen on.
        split_note: How the splits came about, in one line.
        skipped: (name, reason) of each unreadable image, or folder, left out.
        ignored: Files that are no images that can be read here, counted by extension.
        identical: Images of the same content in two splits, or under two labels.
        excluded: Images left out by `dataset.exclude`; None if it is not set.
        other_target: The meaning of the labels where they are no classes; then `class_names` are those of its labels or
            values.
    """

    name: str
    class_names: list[str]
    train: ImageSet
    val: ImageSet
    test: ImageSet
    split_note: str
    skipped: list[tuple[str, str]] = field(default_factory=list)
    ignored: Mapping[str, int] = field(default_factory=dict)
    identical: Identical = field(default_factory=Identical)
    excluded: Excluded | None = None
    other_target: Target | None = None

    @property
    def target(self) -> Target:
        """The meaning of the labels."""
        return self.other_target or ClassTarget(tuple(self.class_names))

    def __post_init__(self) -> None:
        """Name the splits that have no name yet."""
        for name, images in self.splits.items():
            images.call(images.called or name)

    @property
    def splits(self) -> dict[str, ImageSet]:
        """The three splits by name."""
        return {"train": self.train, "val": self.val, "test": self.test}

    def fit_labels(self) -> Labels:
        """(N,) or (N, T) of train and val, train first."""
        return np.concatenate([self.train.labels, self.val.labels])

    def fit_strata(self) -> Labels:
        """Classes (N,) or labels (N, T), train first, whose shares the folds of train and val keep."""
        return self.target.strata(self.fit_labels())

    def fit_contents(self) -> npt.NDArray[np.int64]:
        """(N,) of train and val, train first: images with the same content have the same number."""
        contents = number_contents({"train": self.train, "val": self.val})
        return np.concatenate([contents["train"], contents["val"]])

    def class_counts(self) -> dict[str, npt.NDArray[np.int64]]:
        """Images of each class or label (K,) by split; empty arrays for numbers."""
        return {name: self.target.counts(images.labels) for name, images in self.splits.items()}

    def facts(self) -> dict[str, Any]:
        """The entries of metrics.json: files not read, skipped or excluded, and images with the same content."""
        ignored = {shown_text(kind): count for kind, count in self.ignored.items()}
        facts = {"ignored_files": ignored, "left_out": len(self.skipped), "identical": self.identical.facts()}
        return facts if self.excluded is None else {**facts, "excluded": self.excluded.facts()}

    def rows(self) -> list[tuple[str, str, str]]:
        """(path or index, label, split) of every image; of files, a table that ``dataset=csv`` reads back."""
        text = self.target.text
        return [
            (name, text(label), split)
            for split, images in self.splits.items()
            for name, label in zip(images.names, images.labels.tolist(), strict=True)
        ]
