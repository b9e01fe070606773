"""From the `dataset` group of a configuration to three splits of readable images."""

import logging
from collections.abc import Mapping
from dataclasses import fields, replace
from importlib import import_module
from typing import Any

import numpy as np

from transferkit.config.schema import check_group
from transferkit.data.folder_walk import ignored_files, ignored_level
from transferkit.data.imagedata import ImageData, RawData
from transferkit.data.imageset import ImageSet
from transferkit.data.messages import listed, shown
from transferkit.data.splits import SplitOptions, make_splits
from transferkit.errors import TransferkitError
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
            ``val_fraction``, ``test_fraction``, ``per_class``, ``fraction``, ``max_test`` and ``on_error``.
        seed: Decides cuts and samples.

    Raises:
        TransferkitError: Whatever is wrong with the configuration or the data; all unreadable images in one message.
    """
    cfg = check_group("dataset", cfg)
    options = SplitOptions(**{field.name: cfg[field.name] for field in fields(SplitOptions)})
    raw = import_module(KINDS[cfg["kind"]]).load(cfg, seed)
    if raw.ignored:
        log.log(ignored_level(raw.ignored), "%s", ignored_files(raw.ignored))
    raw, skipped = _check_images(raw, cfg["on_error"])
    _check_classes(raw, cfg["name"])
    labels = {split: images.labels for split, images in raw.splits.items()}
    splits = make_splits(labels, raw.class_names, options, seed)
    train, val, test = (raw.splits[source].subset(rows) for source, rows in (splits.train, splits.val, splits.test))
    unlisted = f"{len(raw.skipped)} unreadable folders left out" if raw.skipped else ""
    unread = len(skipped) - len(raw.skipped)
    left_out = f"{unread} unreadable images left out" if unread else ""
    note = "; ".join(part for part in (splits.note, raw.note, unlisted, left_out) if part)
    return ImageData(cfg["name"], raw.class_names, train, val, test, note, skipped, raw.ignored)


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
            f"{len(bad)} of {total} images cannot be read. Mend or remove them, or set dataset.on_error=skip to leave "
            f"them out:{listed([f'{name}: {reason}' for name, reason in bad])}"
        )
    return replace(raw, splits=kept), [*raw.skipped, *bad]


def _check_classes(raw: RawData, name: str) -> None:
    """Every class must be learnable, and there must be a choice."""
    if len(raw.class_names) < 2:
        raise TransferkitError(
            f"dataset {name} has a single class ({shown(raw.class_names)}). A classifier needs at least two."
        )
    missing = np.setdiff1d(np.arange(len(raw.class_names)), raw.splits["train"].labels)
    if len(missing):
        names = shown([raw.class_names[i] for i in missing])
        raise TransferkitError(
            f"dataset {name} has classes without a readable training image: {names}. Every class needs some."
        )
    for split, images in raw.splits.items():
        if len(images) == 0:
            raise TransferkitError(f"dataset {name}: no readable image in the {split} split.")
