"""Images listed in a CSV file: path, label and optionally split."""

import csv
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from transferkit.config.dataset_keys import Csv
from transferkit.data.imagedata import RawData
from transferkit.data.imageset import ImageSet
from transferkit.data.sources.folder import existing_folder
from transferkit.data.split_table import EXACT_HEADER
from transferkit.errors import TransferkitError, shown
from transferkit.targets.target import LabelCells
from transferkit.targets.target_kinds import KINDS

_SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


@dataclass(frozen=True)
class _Row:
    line: int
    path: str
    labels: tuple[str, ...]
    split: str


def load(cfg: Mapping[str, Any], seed: int) -> RawData:
    """Read the table ``dataset.file``; its labels mean what ``dataset.target`` says (class names: sorted as text).

    Paths are relative to ``dataset.root``, or to the folder of the table if that is not set. Comma, semicolon and tab
    separate columns; spaces around a cell are not part of it, except in a `split.csv` with a quoted header. Without a
    split column (or without one called "split") the images have no splits yet.

    Raises:
        TransferkitError: A missing table, column, image, path or label; an unknown split; an image with two labels.
    """
    file = _existing_file(cfg["file"])
    rows = _read(file, cfg)
    base = existing_folder(cfg["root"]) if cfg["root"] is not None else file.parent
    paths = [base / row.path for row in rows]
    _check_conflicts(rows, paths, file)
    _check_present(rows, paths, file, base, cfg["on_error"])
    cells = LabelCells(
        _label_columns(cfg), [row.labels for row in rows], [row.line for row in rows], str(file), cfg["order"]
    )
    target, labels = KINDS[cfg["target"]].read(cells)
    splits = {}
    for split in ("train", "val", "test"):
        chosen = [i for i, row in enumerate(rows) if row.split == split]
        if chosen:
            splits[split] = ImageSet.from_files([paths[i] for i in chosen], labels[chosen])
    if "train" not in splits:
        raise TransferkitError(f"dataset.file={file} has no row with split train. Mark the training images.")
    return RawData(list(target.names), splits, other_target=target)


def _label_columns(cfg: Mapping[str, Any]) -> list[str]:
    return cfg["label_columns"] or [cfg["label_column"]]


def _existing_file(name: Any) -> Path:
    if name is None or str(name) in ("", "???"):
        raise TransferkitError(
            "dataset.file is not set. Give a CSV file with the columns path, label and optionally split."
        )
    file = Path(name).expanduser().absolute()
    if not file.is_file():
        raise TransferkitError(f"dataset.file={name}: no such file (expected at {file}).")
    return file


def _read(file: Path, cfg: Mapping[str, Any]) -> list[_Row]:
    exact = _is_exact(file)
    try:
        with file.open(encoding="utf-8-sig", errors="surrogateescape" if exact else "strict", newline="") as lines:
            header = lines.readline()
            delimiter = max(",;\t", key=header.count)
            lines.seek(0)
            reader = csv.DictReader(lines, delimiter=delimiter, skipinitialspace=not exact)
            columns = [(name or "").strip() for name in reader.fieldnames or []]
            reader.fieldnames = columns
            _check_columns(columns, file, cfg)
            rows = [_row(reader.line_num, record, cfg, exact) for record in reader]
    except UnicodeDecodeError as error:
        raise TransferkitError(f"dataset.file={file} is not UTF-8 text ({error.reason}). Save it as UTF-8.") from error
    except csv.Error as error:
        raise TransferkitError(f"dataset.file={file} is not a CSV table: {error}.") from error
    if not rows:
        raise TransferkitError(f"dataset.file={file} has a header but no rows.")
    _refuse([f"line {row.line}" for row in rows if not row.path], f"rows without a path in dataset.file={file}")
    empty = exact or KINDS[cfg["target"]].empty
    unlabelled = [f"line {row.line}" for row in rows if not empty and not all(row.labels)]
    _refuse(unlabelled, f"rows without a label in dataset.file={file}")
    unknown = [f"{row.split!r} (line {row.line})" for row in rows if row.split not in _SPLITS]
    _refuse(unknown, f"unknown split names in dataset.file={file}; valid are train, val and test; found")
    return [_Row(row.line, row.path, row.labels, _SPLITS[row.split]) for row in rows]


def _is_exact(file: Path) -> bool:
    """Whether the table is one of `split_table` whose cells are to be read to the letter."""
    with file.open("rb") as lines:
        return lines.readline(1000).rstrip(b"\r\n") == EXACT_HEADER.encode()


def _row(line: int, record: Mapping[str, Any], cfg: Mapping[str, Any], exact: bool) -> _Row:
    path, *labels = (record[column] or "" for column in (cfg["path_column"], *_label_columns(cfg)))
    if not exact:
        path, labels = path.strip(), [label.strip() for label in labels]
    split = (record.get(cfg["split_column"], "train") or "").strip().lower()
    return _Row(line, path, tuple(labels), split)


def _check_columns(columns: list[str], file: Path, cfg: Mapping[str, Any]) -> None:
    wanted = [(cfg["path_column"], "path_column")]
    wanted += [(name, "label_columns" if cfg["label_columns"] else "label_column") for name in _label_columns(cfg)]
    if cfg["split_column"] != Csv.model_fields["split_column"].default:
        wanted.append((cfg["split_column"], "split_column"))
    missing = [f"{name} (dataset.{key})" for name, key in wanted if name not in columns]
    found = ", ".join(columns) or "nothing"
    _refuse(missing, f"dataset.file={file} has the columns {found}; set dataset.path_column and so on; missing")


def _check_conflicts(rows: list[_Row], paths: list[Path], file: Path) -> None:
    """One file has one label and one split, by whatever path it is named.

    Folders are resolved. Links to one file from several places are left to the comparison of contents, since some tools
    store equal files once and link to them.
    """
    real_folder = cache(os.path.realpath)
    first: dict[str, _Row] = {}
    conflicts = []
    for row, path in zip(rows, paths, strict=True):
        folder, name = os.path.split(path)
        before = first.setdefault(os.path.join(real_folder(folder), name), row)
        if (before.labels, before.split) != (row.labels, row.split):
            conflicts.append(f"{row.path} (lines {before.line} and {row.line})")
    _refuse(conflicts, f"images with two labels or in two splits in dataset.file={file}")


def _check_present(rows: list[_Row], paths: list[Path], file: Path, base: Path, on_error: str) -> None:
    missing = [f"{row.path} (line {row.line})" for row, path in zip(rows, paths, strict=True) if not path.is_file()]
    if missing and (on_error == "error" or len(missing) == len(rows)):
        raise TransferkitError(
            f"{len(missing)} of {len(rows)} images in dataset.file={file} do not exist below {base}: {shown(missing)}. "
            "Set dataset.root to the folder that the paths are relative to, or dataset.on_error=skip to skip them."
        )


def _refuse(found: list[str], what: str) -> None:
    if found:
        raise TransferkitError(f"{what}: {shown(found)}.")
