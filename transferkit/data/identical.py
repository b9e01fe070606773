"""Images with the same content in two splits, which raises the reported accuracy, or under two labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.data.imageset import ImageSet
from transferkit.errors import TransferkitError, listed, shown_text
from transferkit.targets.target import Target

Contents = NDArray[np.int64]
"""(N,): images with the same content have the same number."""

PAIRS = (("test", "train"), ("test", "val"), ("val", "train"))
GROUPS_SHOWN = 5
COPIES_SHOWN = 4


@dataclass(frozen=True)
class Identical:
    """Counts of images with the same content.

    Attributes:
        shared: "test_in_train" and so on to how many images of the first split are in the second, too.
        other_label: Images that also occur with another label, in any split.
        examples: Some of both; of each the copies as "name (split, class)".
    """

    shared: Mapping[str, int] = field(default_factory=lambda: {f"{a}_in_{b}": 0 for a, b in PAIRS})
    other_label: int = 0
    examples: Sequence[Sequence[str]] = ()

    def facts(self) -> dict[str, Any]:
        """The entries of metrics.json."""
        return {**self.shared, "other_label": self.other_label, "examples": [list(group) for group in self.examples]}


def number_contents(splits: Mapping[str, ImageSet]) -> dict[str, Contents]:
    """Number the contents of all splits together, by the identities that the check and the feature cache use."""
    numbers: dict[str, int] = {}
    return {
        split: np.fromiter(
            (numbers.setdefault(identity, len(numbers)) for identity in images.ids()), np.int64, len(images)
        )
        for split, images in splits.items()
    }


def find_identical(splits: Mapping[str, ImageSet], contents: Mapping[str, Contents], target: Target) -> Identical:
    """Count images with the same content in train, val and test.

    Args:
        splits: The three, as they are used.
        contents: Of each, from `number_contents`.
        target: Names each label.
    """
    shared = {(a, b): np.isin(contents[a], contents[b]) for a, b in PAIRS}
    everything = np.concatenate([contents[split] for split in splits])
    labels = np.concatenate([images.labels for images in splits.values()])
    if labels.ndim > 1:
        labels = np.unique(labels, axis=0, return_inverse=True)[1].reshape(-1)
    pairs = np.unique(np.stack([everything, labels]), axis=1)[0]
    contents_twice, times = np.unique(pairs, return_counts=True)
    contradictory = contents_twice[times > 1]
    leaking = [contents[a][found] for (a, _), found in shared.items()]
    wanted = list(dict.fromkeys(np.concatenate([*leaking, contradictory]).tolist()))[:GROUPS_SHOWN]
    return Identical(
        {f"{a}_in_{b}": int(found.sum()) for (a, b), found in shared.items()},
        int(np.isin(everything, contradictory).sum()),
        [_copies(splits, contents, target, content) for content in wanted],
    )


def _copies(
    splits: Mapping[str, ImageSet], contents: Mapping[str, Contents], target: Target, content: int
) -> list[str]:
    """The images of one content, in all splits."""
    copies = []
    for split, images in splits.items():
        chosen = images.subset(np.flatnonzero(contents[split] == content))
        for name, label in zip(chosen.names, chosen.labels.tolist(), strict=True):
            copies.append(f"{shown_text(name)} ({split}, {shown_text(target.text(label))})")
    return copies[:COPIES_SHOWN]


def sentences(facts: Mapping[str, Any]) -> list[str]:
    """Return sentences about the counts; empty if all contents are distinct."""
    told = []
    for a, b in PAIRS:
        count = facts[f"{a}_in_{b}"]
        if count:
            effect = (
                "test accuracy is higher than on new images" if a == "test" else "selection on val is less reliable"
            )
            told.append(f"{_images(count)} of {a} {_are(count)} also in {b} (same content): {effect}.")
    count = facts["other_label"]
    if count:
        told.append(f"{_images(count)} {_are(count)} under different labels (same content).")
    return told


def _images(count: int) -> str:
    return f"{count:,} image{'' if count == 1 else 's'}"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def leak_error(identical: Identical) -> TransferkitError:
    """The error of ``dataset.on_leak=error``."""
    return TransferkitError(
        f"{' '.join(sentences(identical.facts()))} dataset.on_leak=drop leaves copies out of train and val, "
        f"dataset.on_leak=warn goes on with them:{listed([' = '.join(group) for group in identical.examples])}"
    )


def rows_without_leaks(contents: Mapping[str, Contents], used: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """The rows of each split that are left when no content is in two splits, for ``dataset.on_leak=drop``.

    A content stays in test as often as it is there, else in val, so that what is reported stays comparable.

    Args:
        contents: Of each split.
        used: The splits that are used: what is in another does not count.
    """
    rows = {split: np.arange(len(found)) for split, found in contents.items()}
    held_out = np.empty(0, np.int64)
    for split in ("test", "val", "train"):
        if split in used and split in contents:
            rows[split] = np.flatnonzero(~np.isin(contents[split], held_out))
            held_out = np.concatenate([held_out, contents[split]])
    return rows
