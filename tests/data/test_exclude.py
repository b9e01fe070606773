"""dataset.exclude: listed images are left out before anything else, and what cannot be matched is said."""

import logging
from pathlib import Path

import numpy as np
import pytest

from transferkit.data.exclude import read_entries
from transferkit.data.imagedata import RawData
from transferkit.data.imageset import ImageSet
from transferkit.data.load_data import load_data
from transferkit.errors import TransferkitError


@pytest.fixture
def photos(make_image, tmp_path):
    for name in ("ant", "bee"):
        for i in range(10):
            make_image(f"photos/{name}/{i}.png")
    return tmp_path / "photos"


def names_left(photos: Path, listed: Path, **more: object) -> set[str]:
    data = load_data({"kind": "folder", "root": photos, "exclude": listed, **more}, seed=0)
    return {str(Path(name).relative_to(photos)) for images in data.splits.values() for name in images.names}


def test_a_text_file_with_paths_of_any_kind(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    listed = tmp_path / "bad.txt"
    listed.write_text(f"# seen by hand\n{photos / 'ant/0.png'}\nant/1.png\n\nphotos/bee/2.png\nbee/2.png\n")
    gone = {"ant/0.png", "ant/1.png", "bee/2.png"}
    everything = {f"{name}/{i}.png" for name in ("ant", "bee") for i in range(10)}
    assert names_left(photos, listed) == everything - gone


def test_a_table_with_kinds(photos, tmp_path):
    listed = tmp_path / "problems.csv"
    listed.write_text("kind,image,label\nlabel,ant/0.png,ant\noutlier,ant/1.png,ant\nconfused_classes,,ant\n")
    assert len(names_left(photos, listed)) == 18
    assert names_left(photos, listed, exclude_kinds=["outlier"]) == names_left(photos, listed) | {"ant/0.png"}


def test_log_facts_and_note_say_it_and_unmatched_entries_are_counted(photos, tmp_path, caplog):
    listed = tmp_path / "bad.txt"
    listed.write_text("ant/0.png\nant/no such image.png\n")
    with caplog.at_level(logging.WARNING):
        data = load_data({"kind": "folder", "root": photos, "exclude": listed}, seed=0)
    assert "1 of 2 entries match no image" in caplog.text
    assert "no such image.png" in caplog.text
    assert f"1 images left out by dataset.exclude={listed}" in data.split_note
    assert data.facts()["excluded"] == {"file": str(listed), "images": {"train": 1}, "unmatched": 1}


def test_an_unreadable_image_can_be_excluded(photos, tmp_path):
    (photos / "ant/0.png").write_bytes(b"no image")
    listed = tmp_path / "bad.txt"
    listed.write_text("ant/0.png")
    assert len(names_left(photos, listed)) == 19


@pytest.mark.parametrize(
    ("content", "kinds", "message"),
    [
        ("ant/17.png\n", None, "none of its 1 entries is an image of this data set: ant/17.png"),
        ("".join(f"ant/{i}.png\n" for i in range(10)), None, "leaves no image in train of ant"),
        ("ant/1.png\n", ["label"], "is no table with a column kind"),
        ("image,label\nant/1.png,ant\n", ["label"], "has the columns image, label, no kind"),
        (None, None, "no such file"),
    ],
)
def test_mistakes_are_one_message(photos, tmp_path, content, kinds, message):
    listed = tmp_path / "list"
    if content is not None:
        listed.write_text(content)
    with pytest.raises(TransferkitError) as caught:
        names_left(photos, listed, exclude_kinds=kinds)
    assert message in str(caught.value)
    assert "dataset.exclude" in str(caught.value)


def test_kinds_need_a_file_and_must_exist(photos):
    with pytest.raises(TransferkitError, match=r"dataset.exclude_kinds needs dataset.exclude=FILE"):
        load_data({"kind": "folder", "root": photos, "exclude_kinds": ["label"]}, seed=0)
    with pytest.raises(TransferkitError, match="duplicate, near_duplicate, label"):
        load_data({"kind": "folder", "root": photos, "exclude": "x", "exclude_kinds": ["labels"]}, seed=0)


@pytest.mark.parametrize(("split", "expected"), [("test", {"test": 1}), ("val", {"train": 1}), ("train", {"train": 1})])
def test_positions_are_those_of_the_split_in_the_table(tmp_path, monkeypatch, split, expected):
    rng = np.random.default_rng(0)
    images = {
        name: ImageSet.from_arrays(rng.integers(0, 256, (20, 8, 8), dtype=np.uint8), np.arange(20) % 2)
        for name in ("train", "test")
    }
    monkeypatch.setattr("transferkit.data.sources.digits.load", lambda cfg, seed: RawData(["even", "odd"], images))
    listed = tmp_path / "problems.csv"
    listed.write_text(f"kind,split,image\nlabel,{split},3\n")
    data = load_data({"kind": "digits", "name": "digits", "exclude": listed}, seed=0)
    assert data.facts()["excluded"]["images"] == expected
    assert "3" not in (data.test.names if split == "test" else [*data.train.names, *data.val.names])
    listed.write_text("3\n")
    with pytest.raises(TransferkitError, match="3 is in train, test; give a table"):
        load_data({"kind": "digits", "name": "digits", "exclude": listed}, seed=0)


def test_names_that_are_not_utf8_come_back(tmp_path):
    listed = tmp_path / "bad.txt"
    listed.write_bytes(b"caf\xe9.png\n")
    assert [entry.name.encode("utf-8", "surrogateescape") for entry in read_entries(listed, None)] == [b"caf\xe9.png"]
