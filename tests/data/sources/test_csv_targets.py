"""Tables whose labels are no classes: how they are read, split and written again."""

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.targets.tables import write_digits
from transferkit.data.imagedata import ImageData
from transferkit.data.load_data import load_data
from transferkit.errors import TransferkitError
from transferkit.folds import make_folds

IMAGES = 150
ORDER = ["low", "middle", "high"]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digits(tmp_path_factory.mktemp("digits"), IMAGES)


def load(file: Path, target: str, column: str = "label", **options: Any) -> ImageData:
    return load_data({"kind": "csv", "file": str(file), "target": target, "label_column": column, **options}, seed=0)


def by_name(data: ImageData) -> dict[str, list[Any]]:
    """The labels of every image, by the name of its file."""
    return {
        Path(name).name: labels
        for images in data.splits.values()
        for name, labels in zip(images.names, images.labels.tolist(), strict=True)
    }


def test_lists_of_labels(table: Path) -> None:
    data = load(table, "multilabel", "labels")
    assert data.class_names == ["even", "large", "round"]
    found = by_name(data)
    assert [found[f"{i}.png"] for i in range(10)] == [
        [int(digit % 2 == 0), int(digit > 4), int(digit in (0, 6, 8, 9))] for digit in range(10)
    ]


def test_a_column_for_each_label(table: Path) -> None:
    columns = load(table, "multilabel", label_columns=["round", "even"])
    lists = by_name(load(table, "multilabel", "labels"))
    assert columns.class_names == ["round", "even"]
    assert by_name(columns) == {name: [labels[2], labels[0]] for name, labels in lists.items()}


def test_splits_keep_the_shares_of_all_labels(table: Path) -> None:
    data = load(table, "multilabel", "labels")
    assert [len(images) for images in data.splits.values()] == pytest.approx([90, 30, 30], abs=4)
    whole = np.concatenate([data.fit_labels(), data.test.labels]).mean(axis=0)
    for images in data.splits.values():
        np.testing.assert_allclose(images.labels.mean(axis=0), whole, atol=0.06)
    folds = make_folds(data.fit_strata(), splits=3)
    assert sorted(np.concatenate([held for _, held in folds]).tolist()) == list(range(len(data.train) + len(data.val)))
    for _, held in folds:
        np.testing.assert_allclose(data.fit_labels()[held].mean(axis=0), whole, atol=0.06)


def test_splits_keep_the_distribution_of_numbers(table: Path) -> None:
    data = load(table, "regression", "ink")
    assert [len(images) for images in data.splits.values()] == [90, 30, 30]
    whole = np.concatenate([data.fit_labels(), data.test.labels])
    for images in data.splits.values():
        np.testing.assert_allclose(
            np.quantile(images.labels, [0.25, 0.5, 0.75]), np.quantile(whole, [0.25, 0.5, 0.75]), atol=0.8
        )
    assert data.target.describe()["mean"] == pytest.approx([data.train.labels.mean()])
    assert data.target.describe()["std"] == pytest.approx([data.train.labels.std()])


@pytest.mark.parametrize(
    ("target", "column", "more"),
    [
        ("multilabel", "labels", {}),
        ("regression", "ink", {}),
        ("ordinal", "size", {"order": ["low", "middle", "high"]}),
    ],
)
def test_copies_stay_together_and_the_split_reads_back(table: Path, tmp_path: Path, target, column, more) -> None:
    shutil.copytree(table.parent, tmp_path / "d")
    with (tmp_path / "d/table.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    copies = []
    for row in rows[1:60]:
        shutil.copy(tmp_path / "d" / row[0], tmp_path / "d/images" / f"copy{Path(row[0]).name}")
        copies.append([f"images/copy{Path(row[0]).name}", *row[1:]])
    with (tmp_path / "d/table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([*rows, *copies])
    data = load(tmp_path / "d/table.csv", target, column, **more)
    assert not any(data.identical.shared.values())
    assert data.identical.other_label == 0
    with (tmp_path / "split.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "split"), *data.rows()])
    again = load(tmp_path / "split.csv", target, **more)
    for split, images in data.splits.items():
        assert again.splits[split].names == images.names
        np.testing.assert_array_equal(again.splits[split].labels, images.labels)


def test_the_order_of_classes(table: Path) -> None:
    assert load(table, "ordinal", "digit").class_names == [str(digit) for digit in range(10)]
    data = load(table, "ordinal", "size", order=["high", "middle", "low"])
    assert data.class_names == ["high", "middle", "low"]
    assert data.train.labels.ndim == 1


@pytest.mark.parametrize(
    ("target", "column", "options", "parts"),
    [
        ("regression", "size", {}, ["cells that are no numbers", "'low' (line 2)"]),
        ("ordinal", "size", {}, ["dataset.order is needed", "dataset.order=[high,low,middle]"]),
        ("ordinal", "size", {"order": ["low", "high"]}, ["dataset.order lacks classes", "middle"]),
        ("multilabel", "label", {"label_columns": ["even", "ink"]}, ["neither 0 nor 1", "even, ink", "(line 2)"]),
        ("multilabel", "label", {"label_columns": ["even", "no"]}, ["no (dataset.label_columns)"]),
        ("class", "label", {"label_columns": ["even"]}, ["dataset.label_columns is for dataset.target=multilabel or"]),
        ("class", "size", {"order": ["low", "high"]}, ["dataset.order is for dataset.target=ordinal"]),
        ("regression", "ink", {"per_class": 5}, ["dataset.per_class needs classes", "dataset.fraction"]),
        ("several", "ink", {}, ["dataset.target=several"]),
    ],
)
def test_mistakes(table: Path, target, column, options, parts) -> None:
    with pytest.raises(TransferkitError) as caught:
        load(table, target, column, **options)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("target", "cells", "part"),
    [
        ("multilabel", ["a;b", "a", "a;b"], "every training image has them: a"),
        ("multilabel", ["", "", ""], "no image has a label"),
        ("regression", ["2", "2.0", "2"], "the same number in label"),
        ("regression", ["2", "nan", "1"], "'nan' (line 3)"),
        ("regression", ["2", "1;2", "1"], "other than 1 numbers"),
    ],
)
def test_nothing_to_learn(table: Path, target, cells, part) -> None:
    file = table.parent / "few.csv"
    file.write_text("path,label\n" + "".join(f"images/{i}.png,{cell}\n" for i, cell in enumerate(cells)))
    with pytest.raises(TransferkitError, match=part.replace("(", r"\(").replace(")", r"\)")):
        load(file, target)
