"""Tables of images."""

import csv
from pathlib import Path
from typing import Any

import pytest

from transferkit.data.imagedata import ImageData
from transferkit.data.load_data import load_data
from transferkit.errors import TransferkitError


@pytest.fixture
def images(make_image, tmp_path):
    for name in ("p/ant 1.png", "p/ant,2.png", "p/bee1.png", "p/bee2.png", "p/ärger.png"):
        make_image(name)
    return tmp_path


ROWS = 'p/ant 1.png,ant,train\n"p/ant,2.png",ant,test\np/bee1.png,bee,train\np/bee2.png,bee,VAL\np/ärger.png,bee,test\n'


def read(folder: Path, text: str, encoding: str = "utf-8", **options: Any) -> ImageData:
    file = folder / "t.csv"
    file.write_bytes(text.encode(encoding))
    return load_data({"kind": "csv", "file": str(file), **options}, seed=0)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_splits_and_labels_of_the_table(images, encoding):
    data = read(images, "path,label,split\n" + ROWS, encoding)
    assert data.class_names == ["ant", "bee"]
    assert data.train.names == [str(images / "p/ant 1.png"), str(images / "p/bee1.png")]
    assert data.train.labels.tolist() == [0, 1]
    assert data.val.names == [str(images / "p/bee2.png")]
    assert data.test.names == [str(images / "p/ant,2.png"), str(images / "p/ärger.png")]


@pytest.mark.parametrize("separator", [";", "\t", ", "])
def test_other_separators(images, separator):
    text = separator.join(["label", "path"]) + "\r\n"
    for i, name in enumerate(["p/ant 1.png", "p/bee1.png", "p/bee2.png", "p/ärger.png"]):
        text += separator.join([f"{i % 2}", name]) + "\r\n"
    data = read(images, text)
    assert data.class_names == ["0", "1"]
    assert len(data.train) + len(data.val) + len(data.test) == 4


def test_named_columns_and_root(images, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("tables")
    text = "file,species,fold\n" + ROWS.replace("p/", "")
    options = {"path_column": "file", "label_column": "species", "split_column": "fold", "root": str(images / "p")}
    assert read(elsewhere, text, **options).train.names[0] == str(images / "p/ant 1.png")


def test_absolute_paths(images, tmp_path_factory):
    text = "path,label,split\n" + ROWS.replace("p/", f"{images}/p/")
    assert len(read(tmp_path_factory.mktemp("tables"), text).train) == 2


def test_rows_of_a_data_set_read_back(make_image, tmp_path, tmp_path_factory):
    for name in ("ant", "bee, honey"):
        for i in range(10):
            make_image(f"{name}/{i}.png")
    before = load_data({"kind": "folder", "root": tmp_path}, seed=3)
    file = tmp_path_factory.mktemp("run") / "split.csv"
    with file.open("w", newline="", encoding="utf-8") as lines:
        csv.writer(lines).writerows([("path", "label", "split"), *before.rows()])
    after = load_data({"kind": "csv", "file": str(file)}, seed=99)
    assert after.rows() == before.rows()
    assert after.class_names == before.class_names


@pytest.mark.parametrize(
    ("text", "options", "parts"),
    [
        ("", {}, ["t.csv", "path (dataset.path_column), label (dataset.label_column)"]),
        ("path,label\n", {}, ["header but no rows"]),
        ("file,label\nx,y\n", {}, ["has the columns file, label", "path (dataset.path_column)"]),
        ("path,label\nx,y\n", {"split_column": "fold"}, ["fold (dataset.split_column)"]),
        ("path,label,split\n" + ROWS + ",ant,train\n", {}, ["without a path", "line 7"]),
        ("path,label,split\n" + ROWS + "x.png, ,train\nz.png\n", {}, ["without a label", "line 7, line 8"]),
        (
            "path,label,split\n" + ROWS + "x.png,ant,trian\n",
            {},
            ["unknown split", "'trian' (line 7)", "train, val and test"],
        ),
        ("path,label,split\n" + ROWS + "x.png,ant,\n", {}, ["unknown split", "'' (line 7)"]),
        ("path,label,split\n" + ROWS + "p/bee1.png,ant,train\n", {}, ["two labels", "p/bee1.png (lines 4 and 7)"]),
        ("path,label,split\n" + ROWS + "p/bee1.png,bee,test\n", {}, ["in two splits", "p/bee1.png (lines 4 and 7)"]),
        ("path,label,split\n" + ROWS + "no.png,ant,train\n", {}, ["1 of 6 images", "no.png (line 7)", "dataset.root"]),
        ("path,label,split\np/bee1.png,bee,test\n", {}, ["no row with split train"]),
        ("path,label,split\n" + ROWS + "p/bee3.png,wasp,test\n", {"on_error": "skip"}, ["training image: wasp"]),
        ("path,label\np/bee1.png,bee\np/bee2.png,bee\n", {}, ["single class (bee)"]),
        ("path,label\np/bee1.png,bee\n", {"root": "/no/such"}, ["dataset.root=/no/such", "no such folder"]),
    ],
)
def test_mistakes(images, text, options, parts):
    with pytest.raises(TransferkitError) as caught:
        read(images, text, **options)
    for part in parts:
        assert part in str(caught.value)


def test_not_utf8(images):
    with pytest.raises(TransferkitError, match="not UTF-8"):
        read(images, "path,label\np/ärger.png,bee\n", encoding="latin-1")


@pytest.mark.parametrize(("file", "message"), [(None, "file=null must be a CSV"), ("no.csv", "no.csv: no such file")])
def test_no_table(file, message):
    with pytest.raises(TransferkitError, match=message):
        load_data({"kind": "csv", "file": file}, seed=0)


def test_missing_images_can_be_skipped(images):
    text = "path,label,split\n" + ROWS + "no.png,ant,train\n"
    data = read(images, text, on_error="skip")
    assert data.skipped == [(str(images / "no.png"), "no such file")]
    assert len(data.train) == 2


def test_all_images_missing_is_a_wrong_root_even_when_skipping(images):
    with pytest.raises(TransferkitError, match=r"Set dataset\.root"):
        read(images, "path,label\nx.png,a\ny.png,b\n", on_error="skip")


@pytest.mark.parametrize("other", ["./p/bee1.png", "p/../p/bee1.png", "link/bee1.png"])
def test_one_file_named_in_two_ways_is_a_contradiction(images, other):
    (images / "link").symlink_to("p")
    text = f"path,label,split\np/bee1.png,bee,train\np/ant 1.png,ant,train\n{other},ant,test\n"
    with pytest.raises(TransferkitError, match="two labels or in two splits") as caught:
        read(images, text)
    assert f"{other} (lines 2 and 4)" in str(caught.value)


def test_links_to_one_file_are_identical_images(images):
    (images / "p/also.png").symlink_to("bee1.png")
    data = read(images, "path,label,split\np/also.png,bee,test\n" + ROWS)
    assert data.identical.shared["test_in_train"] == 1
