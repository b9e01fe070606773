"""From the `dataset` group of a configuration to three splits of readable images."""

import logging
from collections.abc import Mapping
from dataclasses import fields, replace
from importlib import import_module
from typing import Any

import numpy as np

from transferkit.config.checks import is_number, is_whole
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
"""Each kind's module has ``DEFAULTS``, its own keys, and ``load(cfg, seed) -> RawData``."""

COMMON: dict[str, Any] = {
    "name": None,
    "kind": None,
    "cache": None,  # what `transferkit.features.from_settings` reads
    "on_error": "error",
    **{field.name: field.default for field in fields(SplitOptions)},
}


def load_data(cfg: Mapping[str, Any], seed: int) -> ImageData:
    """Find the images of a data set, check that all can be read, and split them.

    Args:
        cfg: The `dataset` group as a plain mapping: ``kind``, the kind's own keys, and optionally ``name``,
            ``val_fraction``, ``test_fraction``, ``per_class``, ``fraction``, ``max_test`` and ``on_error``.
        seed: Decides cuts and samples.

    Raises:
        TransferkitError: Whatever is wrong with the configuration or the data; all unreadable images in one message.
    """
    kind = cfg.get("kind")
    if kind not in KINDS:
        raise TransferkitError(f"dataset.kind={kind} is unknown. Valid: {', '.join(KINDS)}.")
    module = import_module(KINDS[kind])
    cfg = _complete(cfg, module.DEFAULTS)
    options = _split_options(cfg)
    raw = module.load(cfg, seed)
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


def _complete(cfg: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in defaults and refuse keys that nothing would read."""
    valid = {**COMMON, **own}
    unknown = [key for key in cfg if key not in valid]
    if unknown:
        raise TransferkitError(
            f"unknown key{'s' if len(unknown) > 1 else ''} in dataset of kind {cfg['kind']}: "
            f"{', '.join(f'dataset.{key}' for key in unknown)}. Valid: {', '.join(sorted(valid))}."
        )
    merged = {**valid, **cfg}
    return {**merged, "name": merged["name"] or cfg["kind"]}


def _split_options(cfg: Mapping[str, Any]) -> SplitOptions:
    """Check the values that decide the splits."""
    options = SplitOptions(**{field.name: cfg[field.name] for field in fields(SplitOptions)})
    for key in ("val_fraction", "test_fraction"):
        _expect(is_number(cfg[key]) and 0 < cfg[key] < 1, cfg, key, "a number between 0 and 1")
    _expect(options.val_fraction + options.test_fraction < 1, cfg, "val_fraction", "below 1 - dataset.test_fraction")
    if options.fraction is not None:
        _expect(is_number(options.fraction) and 0 < options.fraction <= 1, cfg, "fraction", "in (0, 1], or null")
        _expect(options.per_class is None, cfg, "fraction", "null when dataset.per_class is set")
    if options.per_class is not None:
        few = "a whole number of at least 2 (one to fit, one for val), or null"
        _expect(is_whole(options.per_class) and options.per_class >= 2, cfg, "per_class", few)
    if options.max_test is not None:
        _expect(is_whole(options.max_test) and options.max_test >= 1, cfg, "max_test", "a positive number, or null")
    _expect(cfg["on_error"] in ("error", "skip"), cfg, "on_error", "error or skip")
    return options


def _expect(condition: bool, cfg: Mapping[str, Any], key: str, what: str) -> None:
    if not condition:
        raise TransferkitError(f"dataset.{key}={cfg[key]} must be {what}.")


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
