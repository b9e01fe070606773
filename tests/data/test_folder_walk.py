"""Folders with links, loops, special files and what cannot be listed."""

import logging
import os
import socket
import threading
from pathlib import Path

import pytest

from transferkit.data.folder_walk import FolderWalk, ignored_files, ignored_level
from transferkit.data.load_data import load_data
from transferkit.data.sources.folder import load
from transferkit.errors import TransferkitError


@pytest.fixture
def photos(make_image, tmp_path):
    for name in ("ant", "bee"):
        for i in range(12):
            make_image(f"photos/{name}/{i:02}.png")
    return tmp_path / "photos"


def names(root: Path) -> list[str]:
    raw = load({"root": root}, seed=0)
    return [os.path.relpath(name, root) for images in raw.splits.values() for name in images.names]


def read(root: Path, **options: str) -> list[tuple[str, str, str]]:
    return load_data({"kind": "folder", "root": root, **options}, seed=0).rows()


@pytest.mark.parametrize(
    ("link", "target"),
    [("loop", "."), ("ant/loop", ".."), ("ant/loop", "."), ("ant/deep/loop", "../../.."), ("ant/slash", "/")],
)
def test_a_link_that_leads_back_is_not_followed(photos, link, target):
    before = names(photos)
    (photos / link).parent.mkdir(exist_ok=True)
    (photos / link).symlink_to(target)
    raw = load({"root": photos}, seed=0)
    assert raw.class_names == ["ant", "bee"]
    assert names(photos) == before
    assert len(before) == 24
    assert f"not followed: {photos / link}" in raw.note


def test_a_loop_outside_the_tree(photos, make_image, tmp_path):
    make_image("elsewhere/1.png")
    make_image("elsewhere/more/2.png")
    (tmp_path / "elsewhere/more/up").symlink_to("..")
    (tmp_path / "elsewhere/more/home").symlink_to(photos)
    (photos / "ant/x").symlink_to(tmp_path / "elsewhere")
    assert sorted(set(names(photos)) - {f"{c}/{i:02}.png" for c in ("ant", "bee") for i in range(12)}) == [
        "ant/x/1.png",
        "ant/x/more/2.png",
    ]
    assert len(names(photos)) == 26


def test_each_real_folder_once_however_many_links_lead_there(photos, make_image, tmp_path):
    make_image("elsewhere/1.png")
    for link in ("x", "y", "z"):
        (photos / "ant" / link).symlink_to(tmp_path / "elsewhere")
    assert len(names(photos)) == 25


def test_classes_and_splits_may_be_links(photos, tmp_path):
    for split in ("train", "test"):
        (tmp_path / "set" / split).mkdir(parents=True)
    (tmp_path / "set/train/ant").symlink_to(photos / "ant")
    (tmp_path / "set/train/bee").symlink_to(photos / "bee")
    (tmp_path / "set/test/bee").symlink_to(tmp_path / "other")
    (tmp_path / "other").mkdir()
    (photos / "bee/00.png").rename(tmp_path / "other/00.png")
    raw = load({"root": tmp_path / "set"}, seed=0)
    assert {split: len(images) for split, images in raw.splits.items()} == {"train": 23, "test": 1}


@pytest.mark.parametrize(
    ("links", "told"),
    [
        ({"set/train": "photos", "set/val": "photos"}, ["train/ant and val/ant", "train/bee and val/bee"]),
        ({"set/ant": "photos/ant", "set/bee": "photos/bee", "set/wasp": "photos/bee"}, ["bee and wasp"]),
        ({"set/ant": "photos/ant", "set/bee": "photos/bee", "photos/ant/x": "photos/bee"}, ["ant and bee"]),
    ],
)
def test_one_folder_in_two_classes_or_splits_is_an_error(photos, tmp_path, links, told):
    for link, target in links.items():
        (tmp_path / link).parent.mkdir(exist_ok=True)
        (tmp_path / link).symlink_to(tmp_path / target)
    with pytest.raises(TransferkitError, match="through links, one folder is in several classes or splits") as caught:
        load({"root": tmp_path / "set"}, seed=0)
    for part in told:
        assert part in str(caught.value)


def test_special_files_are_counted_and_not_opened(photos, caplog):
    before = names(photos)
    os.mkfifo(photos / "ant/pipe.png")
    (photos / "bee/zero.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(photos / "bee/socket.jpg"))
    rows: list[object] = []
    thread = threading.Thread(target=lambda: rows.extend(read(photos)), daemon=True)
    with caplog.at_level(logging.INFO):
        thread.start()
        thread.join(20)
    assert len(rows) == len(before)
    assert "3 files were not read: 3 FIFOs, sockets or devices." in caplog.text


def test_a_broken_link_is_a_missing_image(photos):
    (photos / "ant/gone.png").symlink_to("nowhere.png")
    (photos / "ant/circle.png").symlink_to("circle.png")
    (photos / "ant/gone").symlink_to("nowhere")
    with pytest.raises(TransferkitError, match="2 of 26 images cannot be read") as caught:
        read(photos)
    assert "gone.png: no such file" in str(caught.value)


@pytest.fixture
def locked(photos, monkeypatch):
    """A sub-folder that cannot be listed; root may list everything, so the system is asked by a stand-in."""
    (photos / "ant/locked").mkdir()
    scandir = os.scandir

    def refusing(path=".", *args):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path, *args)

    monkeypatch.setattr(os, "scandir", refusing)
    return photos


def test_a_folder_that_cannot_be_listed_is_an_error(locked):
    with pytest.raises(TransferkitError) as caught:
        read(locked)
    assert "1 folder cannot be read" in str(caught.value)
    assert f"{locked / 'ant/locked'}: permission denied" in str(caught.value)


def test_or_is_left_out_and_counted(locked):
    data = load_data({"kind": "folder", "root": locked, "on_error": "skip"}, seed=0)
    assert len(data.rows()) == 24
    assert data.skipped == [(str(locked / "ant/locked"), "permission denied")]
    assert "1 unreadable folders left out" in data.split_note


def test_a_root_that_cannot_be_listed(locked):
    with pytest.raises(TransferkitError, match="cannot be read"):
        load({"root": locked / "ant/locked", "on_error": "skip"}, seed=0)


def test_what_is_passed_over_is_counted_by_extension(photos, make_image, caplog):
    for i in range(10):
        (photos / f"ant/{i}.HEIC").write_bytes(b"x")
    for name in ("ant/a.txt", "bee/deep/b.txt", "bee/README", "notes.md", "bee/.hidden", "bee/.git/config"):
        (photos / name).parent.mkdir(exist_ok=True)
        (photos / name).write_text("x")
    make_image("photos/stray.png")
    with caplog.at_level(logging.INFO):
        data = load_data({"kind": "folder", "root": photos}, seed=0)
    assert data.ignored == {
        ".heic": 10,
        ".txt": 2,
        "without extension": 1,
        ".md": 1,
        ".png outside the class folders": 1,
    }
    (record,) = [record for record in caplog.records if "not read" in record.message]
    assert record.levelno == logging.WARNING
    assert record.message.startswith("15 files were not read: 10 .heic, 2 .txt, ")
    assert "To use the .heic files, convert them to JPEG or PNG" in record.message


def test_texts_alone_are_no_warning():
    assert ignored_level({".txt": 3}) == logging.INFO
    assert ignored_files({".txt": 1}) == "1 file was not read: 1 .txt."
    assert "\x1b" not in ignored_files({".\x1b[2J": 1})
    assert ignored_files({f".{i}": 1 for i in range(20)}).endswith(".7, 12 of other kinds.")


def test_a_walk_gives_files_first_then_folders_by_name(make_image, tmp_path):
    for name in ("b/1.png", "a/2.png", "c.png", "A.png"):
        make_image(f"r/{name}")
    found = FolderWalk().images(tmp_path / "r")
    assert [str(path.relative_to(tmp_path / "r")) for path in found] == ["A.png", "c.png", "a/2.png", "b/1.png"]
