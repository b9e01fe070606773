"""`dataset.exclude`: images that are left out before anything else is done with a data set."""

import csv
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from transferkit.data.image_files import read_file
from transferkit.data.imagedata import Excluded, RawData
from transferkit.errors import TransferkitError, listed, shown

log = logging.getLogger(__name__)

MAX_BYTES = 256 * 1024**2
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Entry:
    """One image to leave out: its path or index, and the split that the table gives, or ""."""

    name: str
    split: str


def exclude(raw: RawData, cfg: Mapping[str, Any]) -> RawData:
    """Leave out the images that `dataset.exclude` lists.

    A path is compared as given, then relative to `dataset.root` (or to the folder of `dataset.file`) and to the working
    directory. Images without a file are named by their position, which can be the same in two splits: then the split of
    the table counts.

    Args:
        raw: The data set as it lies there.
        cfg: The group `dataset`, complete.

    Raises:
        TransferkitError: The file cannot be read, names no image at all, or a class has no training image left.
    """
    if not cfg["exclude"]:
        return raw
    file = Path(cfg["exclude"]).expanduser()
    entries = read_entries(file, cfg["exclude_kinds"])
    found, unmatched = _match(raw, entries, cfg)
    if entries and len(unmatched) == len(entries):
        raise TransferkitError(
            f"dataset.exclude={file}: none of its {len(entries)} entries is an image of this data set: "
            f"{shown(unmatched)}. Paths are absolute, or relative to dataset.root or to the working directory."
        )
    if unmatched:
        log.warning(
            "dataset.exclude=%s: %d of %d entries match no image:%s",
            file,
            len(unmatched),
            len(entries),
            listed(unmatched),
        )
    kept = {
        split: images.subset(np.setdiff1d(np.arange(len(images)), found[split])) for split, images in raw.splits.items()
    }
    _check_left(raw, kept, file)
    counts = {split: len(rows) for split, rows in found.items() if len(rows)}
    note = f"{sum(counts.values())} images left out by dataset.exclude={cfg['exclude']}"
    excluded = Excluded(os.path.abspath(file), counts, len(unmatched))
    return replace(raw, splits=kept, note="; ".join(part for part in (raw.note, note) if part), excluded=excluded)


def read_entries(file: Path, kinds: Sequence[str] | None) -> list[Entry]:
    """The images that a file lists: a CSV table with a column `image` or `path`, or a text with a path a line.

    Args:
        file: The list.
        kinds: Of a table with a column `kind` only the rows of these.

    Raises:
        TransferkitError: It cannot be read, is too large or not UTF-8, or has no kinds where some are wanted.
    """
    text = _read(file)
    lines = text.splitlines()
    header = next(csv.reader(lines[:1]), [])
    column = next((name for name in ("image", "path") if name in header), None)
    if column is None:
        if kinds is not None:
            raise TransferkitError(f"dataset.exclude_kinds={list(kinds)}: {file} is no table with a column kind.")
        names = [line.strip() for line in lines]
        return _distinct(Entry(name, "") for name in names if name and not name.startswith("#"))
    if kinds is not None and "kind" not in header:
        raise TransferkitError(f"dataset.exclude_kinds={list(kinds)}: {file} has the columns {shown(header)}, no kind.")
    try:
        rows = [row for row in csv.DictReader(text.splitlines(keepends=True)) if kinds is None or row["kind"] in kinds]
    except csv.Error as error:
        raise TransferkitError(f"dataset.exclude={file} is not a CSV table: {error}.") from error
    return _distinct(Entry(row[column], row.get("split") or "") for row in rows if row[column])


def _read(file: Path) -> str:
    try:
        content = read_file(file)
    except (OSError, ValueError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else str(error)
        raise TransferkitError(f"dataset.exclude={file}: {reason} (expected at {file.absolute()}).") from error
    if len(content) > MAX_BYTES:
        raise TransferkitError(f"dataset.exclude={file} is larger than {MAX_BYTES // 1024**2} MB: no list of images.")
    # surrogateescape: names of files that are not UTF-8, as problems.csv has them
    return content.decode("utf-8-sig", "surrogateescape")


def _distinct(entries: Any) -> list[Entry]:
    return list(dict.fromkeys(entries))


def _match(raw: RawData, entries: Sequence[Entry], cfg: Mapping[str, Any]) -> tuple[dict[str, list[int]], list[str]]:
    """The rows of each split that are listed, and the entries that match none."""
    rows: dict[str, list[tuple[str, int]]] = {}
    for split, images in raw.splits.items():
        for row, name in enumerate(images.names):
            rows.setdefault(name, []).append((split, row))
    bases = [Path(cfg[key]).expanduser() for key in ("root",) if cfg.get(key)]
    bases += [Path(cfg["file"]).expanduser().parent] if cfg.get("file") else []
    found: dict[str, set[int]] = {split: set() for split in raw.splits}
    unmatched = []
    for entry in entries:
        names = [entry.name, *(os.path.abspath(base / entry.name) for base in (*bases, Path()))]
        places = next((rows[name] for name in names if name in rows), [])
        if len(places) > 1:
            places = _in_split(places, entry, list(raw.splits), cfg)
        for split, row in places:
            found[split].add(row)
        if not places:
            unmatched.append(entry.name)
    return {split: sorted(taken) for split, taken in found.items()}, unmatched


def _in_split(
    places: list[tuple[str, int]], entry: Entry, given: Sequence[str], cfg: Mapping[str, Any]
) -> list[tuple[str, int]]:
    """Of images with the same name the one in the split that `entry.split` is made of."""
    if entry.split not in SPLITS:
        raise TransferkitError(
            f"dataset.exclude={cfg['exclude']}: {shown([entry.name])} is in {shown([split for split, _ in places])}; "
            "give a table with the columns image and split."
        )
    test = next(split for split in ("test", "val", "train") if split in given)
    val = "val" if {"val", "test"} <= set(given) and cfg["per_class"] is None else "train"
    source = {"train": "train", "val": val, "test": test}[entry.split]
    return [place for place in places if place[0] == source]


def _check_left(raw: RawData, kept: Mapping[str, Any], file: Path) -> None:
    what = [f"in train of {shown(gone)}"] if (gone := raw.gone(kept["train"])) else []
    what += [f"in {split}" for split, images in kept.items() if split != "train" and not len(images)]
    if what:
        raise TransferkitError(f"dataset.exclude={file} leaves no image {' and '.join(what)}.")
