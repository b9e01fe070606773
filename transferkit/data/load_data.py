"""From the `dataset` group of a configuration to three splits of readable images."""

import logging
from collections.abc import Mapping
from dataclasses import fields, replace
from importlib import import_module
from typing import Any

import numpy as np

from transferkit.config.schema import check_group
from transferkit.data.exclude import exclude
from transferkit.data.folder_walk import ignored_files, ignored_level
from transferkit.data.identical import (
    Contents,
    Identical,
    find_identical,
    leak_error,
    number_contents,
    rows_without_leaks,
    sentences,
)
from transferkit.data.imagedata import ImageData, RawData
from transferkit.data.imageset import ImageSet
from transferkit.data.splits import SplitOptions, make_splits, used_splits
from transferkit.errors import TransferkitError, listed, shown
from transferkit.progress import progress

log = logging.getLogger(__name__)

KINDS = {
    "folder": "transferkit.data.sources.folder",
    "csv": "transferkit.data.sources.csv_table",
    "torchvision": "transferkit.data.sources.torchvision_sets",
    "digits": "transferkit.data.sources.digits",
    "glyphs": "transferkit.data.sources.glyphs",
    "fractals": "transferkit.data.sources.fractals",
}
"""Each kind's module has ``load(cfg, seed) -> RawData``; its keys are a model in `config.dataset_keys`."""


def load_data(cfg: Mapping[str, Any], seed: int) -> ImageData:
    """Find the images of a data set, check that all can be read, and split them.

    Args:
        cfg: The `dataset` group as a plain mapping: ``kind``, the kind's own keys, and optionally ``name``,
            ``val_fraction``, ``test_fraction``, ``per_class``, ``fraction``, ``max_test``, ``on_error``,
            ``on_leak``, ``exclude`` and ``exclude_kinds``.
        seed: Decides cuts and samples.

    Raises:
        TransferkitError: Whatever is wrong with the configuration or the data; all unreadable images in one message.
    """
    cfg = check_group("dataset", cfg)
    options = SplitOptions(**{field.name: cfg[field.name] for field in fields(SplitOptions)})
    raw = import_module(KINDS[cfg["kind"]]).load(cfg, seed)
    if raw.ignored:
        log.log(ignored_level(raw.ignored), "%s", ignored_files(raw.ignored))
    raw = exclude(raw, cfg)
    raw, skipped = _check_images(raw, cfg["on_error"])
    raw, contents = _without_leaks(raw, number_contents(raw.splits), cfg["on_leak"], options)
    _check_labels(raw, cfg["name"])
    strata = {split: raw.target.strata(images.labels) for split, images in raw.splits.items()}
    splits = make_splits(strata, raw.class_names, options, seed, contents)
    parts = {"train": splits.train, "val": splits.val, "test": splits.test}
    used = {name: raw.splits[source].subset(rows) for name, (source, rows) in parts.items()}
    identical = find_identical(
        used, {name: contents[source][rows] for name, (source, rows) in parts.items()}, raw.target
    )
    _tell_identical(identical, cfg["on_leak"])
    notes = (splits.note, raw.note, *_left_out(raw.skipped, skipped))
    note = "; ".join(part for part in notes if part)
    return ImageData(
        cfg["name"],
        raw.class_names,
        **used,
        split_note=note,
        skipped=skipped,
        ignored=raw.ignored,
        identical=identical,
        excluded=raw.excluded,
        other_target=raw.other_target and raw.other_target.scaled(used["train"].labels),
    )


def _left_out(folders: list[tuple[str, str]], skipped: list[tuple[str, str]]) -> list[str]:
    images = len(skipped) - len(folders)
    counts = {"unreadable folders": len(folders), "unreadable images": images}
    return [f"{count} {what} left out" for what, count in counts.items() if count]


def _without_leaks(
    raw: RawData, contents: dict[str, Contents], on_leak: str, options: SplitOptions
) -> tuple[RawData, dict[str, Contents]]:
    """With ``dataset.on_leak=drop``, leave copies of held-out images out of the given splits."""
    if on_leak != "drop":
        return raw, contents
    rows = rows_without_leaks(contents, used_splits(raw.splits, options))
    kept = {split: images.subset(rows[split]) for split, images in raw.splits.items()}
    _check_something_left(raw, kept)
    dropped = {split: len(raw.splits[split]) - len(images) for split, images in kept.items()}
    notes = [f"{count} images left out of {split}, which are held out too" for split, count in dropped.items() if count]
    note = "; ".join(part for part in (raw.note, *notes) if part)
    return replace(raw, splits=kept, note=note), {split: contents[split][rows[split]] for split in contents}


def _check_something_left(raw: RawData, kept: Mapping[str, ImageSet]) -> None:
    what = [f"in train of {shown(gone)}"] if (gone := raw.gone(kept["train"])) else []
    what += [f"in {split}" for split, images in kept.items() if split != "train" and not len(images)]
    if what:
        raise TransferkitError(
            f"dataset.on_leak=drop leaves no image {' and '.join(what)}: all of them are in held-out splits too. "
            "Mend the splits, or set dataset.on_leak=warn."
        )


def _tell_identical(identical: Identical, on_leak: str) -> None:
    if on_leak == "error" and any(identical.shared.values()):
        raise leak_error(identical)
    told = sentences(identical.facts())
    if told:
        examples = listed([" = ".join(group) for group in identical.examples])
        hint = " dataset.on_leak=drop leaves such images out of train." if any(identical.shared.values()) else ""
        log.warning("%s%s%s", " ".join(told), hint, examples)


def _check_images(raw: RawData, on_error: str) -> tuple[RawData, list[tuple[str, str]]]:
    """Refuse, or leave out, the images that cannot be read."""
    total = sum(len(images) for images in raw.splits.values())
    bad: list[tuple[str, str]] = []
    kept: dict[str, ImageSet] = {}
    with progress("Checking images", total) as advance:
        for split, images in raw.splits.items():
            # What is to be skipped must be found now; an error can also come when the image is used.
            unreadable = dict(images.unreadable(advance, thorough=on_error == "skip"))
            names = images.names if unreadable else []
            bad += [(names[i], reason) for i, reason in unreadable.items()]
            whole = np.setdiff1d(np.arange(len(images)), list(unreadable))
            kept[split] = images.subset(whole) if unreadable else images
    if bad and on_error == "error":
        raise TransferkitError(
            f"{len(bad)} of {total} images cannot be read. Repair or remove them, or set dataset.on_error=skip to "
            f"skip them:{listed([f'{name}: {reason}' for name, reason in bad])}"
        )
    return replace(raw, splits=kept), [*raw.skipped, *bad]


def _check_labels(raw: RawData, name: str) -> None:
    """There must be something to learn from the labels of train, and images in every split."""
    raw.target.check(raw.splits["train"].labels, name)
    for split, images in raw.splits.items():
        if len(images) == 0:
            raise TransferkitError(f"dataset {name}: no readable image in the {split} split.")
