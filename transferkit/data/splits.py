"""Train, val and test: the splits of the data set, and missing ones cut out, stratified and seeded."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from transferkit.arrays import Labels
from transferkit.data.stratify import Rows, cut, first_copies, take, with_copies
from transferkit.errors import TransferkitError, shown

# One random stream for each purpose: the test cut, say, does not move when per_class is set.
_TEST, _VAL, _PER_CLASS, _FRACTION, _MAX_TEST = range(5)

Part = tuple[str, Rows]
"""A given split and the rows to use of it."""


@dataclass(frozen=True)
class SplitOptions:
    """How to cut splits that the data set lacks; the `dataset.*` keys of the same names.

    Attributes:
        val_fraction: Part of all images (of train, where test is given) that becomes val.
        test_fraction: Part of all images that becomes test, where none is given.
        per_class: Labelled images per class in all; val is cut out of these. None: all there are.
        fraction: Part of train and val to use. None: all.
        max_test: Images of test to use, stratified. None: all.
    """

    val_fraction: float = 0.2
    test_fraction: float = 0.2
    per_class: int | None = None
    fraction: float | None = None
    max_test: int | None = None


@dataclass(frozen=True)
class Splits:
    """Which images make each split.

    Attributes:
        train: For fitting.
        val: For choosing.
        test: For reporting.
        note: How this came about, in one line, with sizes.
    """

    train: Part
    val: Part
    test: Part
    note: str


def used_splits(given: Collection[str], options: SplitOptions) -> list[str]:
    """The given splits of which images are used: with `per_class`, val is cut out of train even where it is given."""
    unused = {"val"} if options.per_class is not None and "test" in given else set()
    return [split for split in given if split not in unused]


def make_splits(
    labels: Mapping[str, Labels],
    class_names: Sequence[str],
    options: SplitOptions,
    seed: int,
    contents: Mapping[str, Rows] | None = None,
) -> Splits:
    """Decide which images are for training, for choosing and for reporting.

    Train, val and test are used as given. Where only train and val are given, that val is reported as test. What is
    then missing is cut out of train, in proportion to the classes, the total rounded to the nearest image; every class
    keeps at least one image in train, so a class of one image is never cut, and a small class may be missing in val or
    in a test split that was cut. Images of the same content stay together in one split; with `per_class` only the first
    of them is used.

    Args:
        labels: Class indices of each given split: "train", and "val" and "test" if they exist.
        class_names: Name of each class, for messages.
        options: What to cut and how much to use.
        seed: Decides every cut, except that a given test split, and the part of it that `max_test` leaves, stay the
            same for all seeds.
        contents: Of each given split, a number for each image that is the same for images of the same content. None:
            all images differ.

    Raises:
        TransferkitError: Too few images for what is asked.
    """
    train_contents = np.arange(len(labels["train"])) if contents is None else contents["train"]
    rows, test = _choose_test(labels, train_contents, options, seed)
    note = _given_note(labels, options, seed)
    if options.per_class is not None:
        train, val = _few_shot(first_copies(rows, train_contents), labels, class_names, options, seed)
    else:
        train, val = _choose_val(rows, labels, train_contents, options, seed)
    if options.fraction is not None:
        note += f"; {_percent(options.fraction)} of train and val (stratified, seed {seed})"
    if options.max_test is not None and options.max_test < len(test[1]):
        note += f"; test reduced from {len(test[1])} to {options.max_test} images (stratified)"
        # seed 0 whatever the run's seed, so that runs of several seeds report on the same images
        _, kept = cut(test[1], labels[test[0]], options.max_test, keep=0, seed=0, stream=_MAX_TEST)
        test = (test[0], kept)
    note += f": {len(train[1])} train, {len(val[1])} val, {len(test[1])} test"
    return Splits(train, val, test, note)


def _choose_test(labels: Mapping[str, Labels], contents: Rows, options: SplitOptions, seed: int) -> tuple[Rows, Part]:
    """The rows of train that are left for fitting and choosing, and the test split."""
    rows = np.arange(len(labels["train"]))
    for given in ("test", "val"):
        if given in labels:
            return rows, (given, np.arange(len(labels[given])))
    firsts = first_copies(rows, contents)
    total = _portion(options.test_fraction, len(firsts))
    _, test = cut(firsts, labels["train"], total, keep=1, seed=seed, stream=_TEST)
    rest, test = with_copies(rows, test, labels["train"], contents)
    return rest, ("train", _some(test, "test", len(rows)))


def _choose_val(
    rows: Rows, labels: Mapping[str, Labels], contents: Rows, options: SplitOptions, seed: int
) -> tuple[Part, Part]:
    """Train and val: val as given beside a test split, else cut from the rows of train."""
    fraction = 1.0 if options.fraction is None else options.fraction
    train = _reduce(rows, labels["train"], fraction, seed)
    if "val" in labels and "test" in labels:
        val = _reduce(np.arange(len(labels["val"])), labels["val"], fraction, seed)
        return ("train", train), ("val", val)
    total = _portion(options.val_fraction * fraction, len(np.unique(contents)))
    _, val = cut(first_copies(train, contents), labels["train"], total, keep=1, seed=seed, stream=_VAL)
    train, val = with_copies(train, val, labels["train"], contents)
    return ("train", train), ("train", _some(val, "val", len(labels["train"])))


def _few_shot(
    rows: Rows, labels: Mapping[str, Labels], class_names: Sequence[str], options: SplitOptions, seed: int
) -> tuple[Part, Part]:
    """`per_class` images of each class, parted in train and val with at least one of each class in both."""
    wanted = options.per_class or 0
    classes, sizes = np.unique(labels["train"][rows], return_counts=True)
    short = [f"{class_names[c]} ({n})" for c, n in zip(classes.tolist(), sizes.tolist(), strict=True) if n < wanted]
    if short:
        unused = "The given val split is not used for it. " if "val" in labels and "test" in labels else ""
        raise TransferkitError(
            f"dataset.per_class={wanted}, but {len(short)} of {len(classes)} classes have fewer training images: "
            f"{shown(short)}. {unused}Lower dataset.per_class to {int(sizes.min())} or less, or add images."
        )
    _, chosen = take(rows, labels["train"], dict.fromkeys(classes.tolist(), wanted), seed, _PER_CLASS)
    for_val = dict.fromkeys(classes.tolist(), _few_for_val(options))
    train, val = take(chosen, labels["train"], for_val, seed, _VAL)
    return ("train", train), ("train", val)


def _few_for_val(options: SplitOptions) -> int:
    wanted = options.per_class or 0
    return min(_portion(options.val_fraction, wanted), wanted - 1)


def _reduce(rows: Rows, labels: Labels, fraction: float, seed: int) -> Rows:
    """A stratified part of rows, at least one image of each class."""
    if fraction >= 1:
        return rows
    kept, _ = cut(rows, labels, len(rows) - _portion(fraction, len(rows)), keep=1, seed=seed, stream=_FRACTION)
    return kept


def _given_note(labels: Mapping[str, Labels], options: SplitOptions, seed: int) -> str:
    seeded = f"(stratified, seed {seed})"
    given = {
        ("train",): f"no split given, {_percent(options.test_fraction)} cut out for test",
        ("train", "val"): "val as given is reported as test",
        ("train", "test"): "train and test as given",
        ("train", "val", "test"): "train, val and test as given",
    }[tuple(split for split in ("train", "val", "test") if split in labels)]
    if options.per_class is not None:
        size = _few_for_val(options)
        return f"{given}; {options.per_class} labelled images per class, {size} of them for val {seeded}"
    if "val" in labels and "test" in labels:
        return given
    whole = " of train" if len(labels) > 1 else ""
    return f"{given}, {_percent(options.val_fraction)}{whole} cut out for val {seeded}"


def _some(rows: Rows, split: str, images: int) -> Rows:
    if len(rows) == 0:
        raise TransferkitError(
            f"no image can be set aside for {split}: each class must keep one of the {images} training images. "
            f"Add images, or provide a {split} split."
        )
    return rows


def _portion(fraction: float, count: int) -> int:
    """The nearest whole number of images, but one rather than none."""
    return max(1, round(fraction * count))


def _percent(fraction: float) -> str:
    return f"{100 * fraction:g} %"
