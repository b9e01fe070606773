"""split.csv reads back to the same classes and splits, whatever files and classes are called."""

import os
from pathlib import Path

import numpy as np
import pytest

from transferkit.compare.collect import read_split
from transferkit.data.imagedata import ImageData
from transferkit.data.imageset import ImageSet
from transferkit.data.load_data import load_data
from transferkit.data.split_table import EXACT_HEADER, HEADER
from transferkit.files import write_csv
from transferkit.report.run_files import write_splits

HOSTILE = [
    " ",
    " ant",
    "ant ",
    "a,b",
    'q"uo"te',
    "two\nlines",
    "cr\rlf\r\n",
    "tab\t",
    "b\udcffytes",
    "é;",
    "'=1+1",
    "\u00a0",
]


def read_back(folder: Path, data: ImageData) -> ImageData:
    write_splits(folder, data)
    return load_data({"kind": "csv", "file": str(folder / "split.csv")}, seed=5)


@pytest.mark.parametrize("names", [["ant", "bee"], HOSTILE], ids=["ordinary", "hostile"])
def test_folders_read_back(make_image, tmp_path, names):
    for i, name in enumerate(names):
        (tmp_path / "r" / name).mkdir(parents=True)
        for j, file in enumerate(["1.png", "2.png", "3.png", f"{name}{i}.png", "4.png", "5.png"]):
            os.replace(make_image(f"{i}-{j}.png"), tmp_path / "r" / name / file)
    data = load_data({"kind": "folder", "root": str(tmp_path / "r")}, seed=0)
    again = read_back(tmp_path, data)
    assert again.class_names == data.class_names == sorted(names)
    assert again.rows() == data.rows()
    header = (tmp_path / "split.csv").read_bytes().splitlines()[0].decode()
    assert header == ("path,label,split" if names[0] == "ant" else EXACT_HEADER)
    test_images, labelled = read_split(tmp_path / "split.csv")
    assert labelled == len(data.train) + len(data.val)
    assert test_images == read_split(tmp_path / "split.csv")[0]


def test_a_class_without_a_name_reads_back(make_image, tmp_path):
    paths = [make_image(f"{i}.png") for i in range(6)]
    train, val, test = (ImageSet.from_files(paths[i : i + 2], np.array([0, 1])) for i in (0, 2, 4))
    data = ImageData("d", ["", "x"], train, val, test, split_note="")
    again = read_back(tmp_path, data)
    assert again.class_names == ["", "x"]
    assert again.rows() == data.rows()


def test_runs_are_recognised_by_their_test_images_quoted_or_not(tmp_path):
    rows = [["/a/1.jpg", "ant", "train"], ["/a/2.jpg", "ant", "test"], ["/a/3.jpg", "two\nlines", "test"]]
    for name, quoted in (("1.csv", False), ("2.csv", True)):
        write_csv(tmp_path / name, HEADER, rows, quoted=quoted)
    assert read_split(tmp_path / "1.csv") == read_split(tmp_path / "2.csv")
    assert read_split(tmp_path / "1.csv")[1] == 1
