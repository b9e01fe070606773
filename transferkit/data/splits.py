"""Train, val and test: as the data set gives them, and what is missing cut out, stratified and seeded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from transferkit.errors import TransferkitError

Labels = NDArray[np.int64]
Rows = NDArray[np.int64]

# One random stream for each purpose: the test cut, say, does not move when per_class is set.
_TEST, _VAL, _PER_CLASS, _FRACTION, _MAX_TEST = range(5)


@dataclass(frozen=True)
class SplitOptions:
    """How to cut what the data set does not give; the `dataset.*` keys of the same names.

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
        parts: For train, val and test: the given split that the images come from, and their rows there, ascending.
        note: How this came about, in one line, with sizes.
    """

    parts: dict[str, tuple[str, Rows]]
    note: str


def make_splits(labels: Mapping[str, Labels], class_names: Sequence[str], options: SplitOptions, seed: int) -> Splits:
    """Decide which images are for training, for choosing and for reporting.

    Train, val and test are used as given. Where only train and val are given, that val is reported as test. What is
    then missing is cut out of train, in proportion to the classes with the total rounded to the nearest image; every
    class keeps at least one image in train, so a class of one image is never cut.

    Args:
        labels: Class indices of each given split: "train", and "val" and "test" if they exist.
        class_names: Name of each class, for messages.
        options: What to cut and how much to use.
        seed: Decides every cut, except that a given test split, and the part of it that `max_test` leaves, stay the
            same for all seeds.

    Raises:
        TransferkitError: Too few images for what is asked.
    """
    train = labels["train"]
    rows = np.arange(len(train))
    given_test = "test" if "test" in labels else "val" if "val" in labels else None
    if given_test is None:
        count = _portion(options.test_fraction, len(rows))
        rows, test = _cut(rows, train, count, keep=1, seed=seed, stream=_TEST)
        _require(test, "test", len(train))
        test_part = ("train", test)
    else:
        test_part = (given_test, np.arange(len(labels[given_test])))
    notes = [_given_note(labels, options, seed)]

    given_val = "val" if given_test == "test" and "val" in labels else None
    val_part: tuple[str, Rows]
    if options.per_class is not None:
        rows, val, size = _few(rows, train, class_names, options, seed)
        val_part = ("train", val)
        notes.append(f"{options.per_class} labelled images per class, {size} of them for val (seed {seed})")
    else:
        part = 1.0 if options.fraction is None else options.fraction
        rows = _part(rows, train, part, seed)
        if given_val:
            val_part = ("val", _part(np.arange(len(labels["val"])), labels["val"], part, seed))
        else:
            count = _portion(options.val_fraction * part, len(train))
            rows, val = _cut(rows, train, count, keep=1, seed=seed, stream=_VAL)
            _require(val, "val", len(train))
            val_part = ("train", val)
        if options.fraction is not None:
            notes.append(f"{_percent(part)} of train and val (stratified, seed {seed})")

    test_part, test_note = _limit_test(test_part, labels, options.max_test)
    sizes = f"{len(rows)} train, {len(val_part[1])} val, {len(test_part[1])} test"
    parts = {"train": ("train", rows), "val": val_part, "test": test_part}
    return Splits(parts, "; ".join([*notes, *test_note]) + f": {sizes}")


def apportion(
    sizes: NDArray[np.int64], total: int, most: NDArray[np.int64], order: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Share `total` among classes in proportion to their sizes by largest remainders, never more than `most` of each.

    `order` (a permutation of the classes) breaks ties.
    """
    total = min(total, int(most.sum()))
    quota = sizes * (total / max(int(sizes.sum()), 1))
    shares: NDArray[np.int64] = np.minimum(np.floor(quota).astype(np.int64), most)
    while (missing := total - int(shares.sum())) > 0:
        open_classes = np.flatnonzero(shares < most)
        best = np.lexsort((order[open_classes], shares[open_classes] - quota[open_classes]))
        shares[open_classes[best[:missing]]] += 1
    return shares


def _cut(rows: Rows, labels: Labels, total: int, keep: int, seed: int, stream: int) -> tuple[Rows, Rows]:
    """Part rows in (rest, taken), `total` taken, each class keeping at least `keep` in the rest."""
    classes, sizes = np.unique(labels[rows], return_counts=True)
    order = np.random.default_rng([seed, stream, 1]).permutation(len(classes))
    shares = apportion(sizes, total, np.maximum(sizes - keep, 0), order)
    return _take(rows, labels, dict(zip(classes.tolist(), shares.tolist(), strict=True)), seed, stream)


def _take(rows: Rows, labels: Labels, shares: Mapping[int, int], seed: int, stream: int) -> tuple[Rows, Rows]:
    """Part rows in (rest, taken): the first so many of each class in a seeded order, so that smaller takes nest."""
    shuffled = np.random.default_rng([seed, stream]).permutation(len(labels))
    shuffled = shuffled[np.isin(shuffled, rows)]
    shuffled = shuffled[np.argsort(labels[shuffled], kind="stable")]
    classes, starts, sizes = np.unique(labels[shuffled], return_index=True, return_counts=True)
    place = np.arange(len(shuffled)) - np.repeat(starts, sizes)
    taken = place < np.repeat([shares[c] for c in classes.tolist()], sizes)
    return np.sort(shuffled[~taken]), np.sort(shuffled[taken])


def _few(
    rows: Rows, labels: Labels, class_names: Sequence[str], options: SplitOptions, seed: int
) -> tuple[Rows, Rows, int]:
    """Choose `per_class` images of each class and part them in train and val, at least one each per class."""
    wanted = options.per_class or 0
    classes, sizes = np.unique(labels[rows], return_counts=True)
    short = [f"{class_names[c]} ({n})" for c, n in zip(classes.tolist(), sizes.tolist(), strict=True) if n < wanted]
    if short:
        raise TransferkitError(
            f"dataset.per_class={wanted}, but {len(short)} of {len(classes)} classes have fewer training images: "
            f"{shown(short)}. Images of a given val split are not used for it. Lower dataset.per_class to "
            f"{int(sizes.min())} or less, or add images."
        )
    _, chosen = _take(rows, labels, dict.fromkeys(classes.tolist(), wanted), seed, _PER_CLASS)
    size = min(max(1, _portion(options.val_fraction, wanted)), wanted - 1)
    train, val = _take(chosen, labels, dict.fromkeys(classes.tolist(), size), seed, _VAL)
    return train, val, size


def _part(rows: Rows, labels: Labels, fraction: float, seed: int) -> Rows:
    """A stratified part of rows, at least one image of each class."""
    if fraction >= 1:
        return rows
    kept, _ = _cut(rows, labels, len(rows) - max(1, _portion(fraction, len(rows))), keep=1, seed=seed, stream=_FRACTION)
    return kept


def _limit_test(
    part: tuple[str, Rows], labels: Mapping[str, Labels], limit: int | None
) -> tuple[tuple[str, Rows], list[str]]:
    source, rows = part
    if limit is None or limit >= len(rows):
        return part, []
    # seed 0 whatever the run's seed, so that runs of several seeds report on the same images
    _, kept = _cut(rows, labels[source], limit, keep=0, seed=0, stream=_MAX_TEST)
    return (source, kept), [f"test reduced from {len(rows)} to {limit} images (stratified)"]


def _given_note(labels: Mapping[str, Labels], options: SplitOptions, seed: int) -> str:
    cut = f"stratified, seed {seed}"
    val_cut = f"val cut from train ({_percent(options.val_fraction)}, {cut})"
    few = options.per_class is not None
    if "test" in labels:
        if "val" in labels:
            return "train and test as given" if few else "train, val and test as given"
        return "train and test as given" if few else f"train and test as given, {val_cut}"
    if "val" in labels:
        return "val as given is reported as test" if few else f"val as given is reported as test, {val_cut}"
    test_cut = f"{_percent(options.test_fraction)} for test"
    if few:
        return f"no split given, {test_cut} cut out ({cut})"
    return f"no split given, {test_cut} and {_percent(options.val_fraction)} for val cut out ({cut})"


def _require(rows: Rows, split: str, images: int) -> None:
    if len(rows) == 0:
        raise TransferkitError(
            f"no image can be set aside for {split}: each class must keep one of the {images} training images. "
            f"Add images, or provide a {split} split."
        )


def _portion(fraction: float, count: int) -> int:
    """The nearest whole number of images, but one rather than none."""
    return max(1, round(fraction * count))


def _percent(fraction: float) -> str:
    return f"{100 * fraction:g} %"


def shown(items: Sequence[str], limit: int = 20) -> str:
    """Join the first items for a message, and say how many more there are."""
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(items[:limit]) + more
