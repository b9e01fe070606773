"""Folders of images, as people have them."""

import numpy as np
import pytest
from torchvision.datasets import ImageFolder

from transferkit.data.load_data import load_data
from transferkit.data.sources.folder import load
from transferkit.errors import TransferkitError


def test_flat_folder_agrees_with_torchvision(make_image, tmp_path):
    for name in ("b/2.png", "b/10.jpg", "a/x.png", "a/deep/er/y.PNG", "C c/ü.JPEG", "10/0.bmp"):
        make_image(name)
    raw = load({"root": str(tmp_path)}, seed=0)
    reference = ImageFolder(tmp_path)
    assert raw.class_names == reference.classes == ["10", "C c", "a", "b"]
    assert list(raw.splits) == ["train"]
    ours = zip(raw.splits["train"].names, raw.splits["train"].labels.tolist(), strict=True)
    assert sorted(ours) == sorted(reference.samples)


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_split_layout(make_image, tmp_path, val):
    for split, count in (("train", 3), (val, 2), ("test", 1)):
        for name in ("ant", "bee"):
            for i in range(count):
                make_image(f"{split}/{name}/{i}.png")
    raw = load({"root": tmp_path}, seed=0)
    assert raw.class_names == ["ant", "bee"]
    assert {split: len(images) for split, images in raw.splits.items()} == {"train": 6, "val": 4, "test": 2}
    assert all(f"/{val}/" in name for name in raw.splits["val"].names)
    assert raw.splits["val"].labels.tolist() == [0, 0, 1, 1]


def test_other_files_are_passed_over(make_image, tmp_path):
    for name in ("ant/1.png", "bee/1.png", ".hidden/1.png", "ant/.ipynb_checkpoints/1.png", "__MACOSX/1.png"):
        make_image(name)
    for name in ("ant/._1.png", "ant/.hidden.png", "ant/Thumbs.db", "ant/notes.txt", "ant/1.json", "readme.md"):
        (tmp_path / name).write_text("not an image")
    raw = load({"root": tmp_path}, seed=0)
    assert raw.class_names == ["ant", "bee"]
    assert [name.rsplit("/", 2)[-2] for name in raw.splits["train"].names] == ["ant", "bee"]


def test_other_folders_beside_train_are_told(make_image, tmp_path):
    for name in ("train/ant/1.png", "train/bee/1.png", "test/ant/1.png", "unlabelled/1.png"):
        make_image(name)
    assert load({"root": tmp_path}, seed=0).note == "beside train, not used: unlabelled"


def test_a_class_may_be_called_train(make_image, tmp_path):
    for name in ("train/1.png", "car/1.png"):
        make_image(name)
    assert load({"root": tmp_path}, seed=0).class_names == ["car", "train"]


def test_root_is_relative_to_the_working_directory_or_to_home(make_image, tmp_path, monkeypatch):
    make_image("photos/ant/1.png")
    make_image("photos/bee/1.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for root in ("photos", "~/photos"):
        names = load({"root": root}, seed=0).splits["train"].names
        assert names[0] == str(tmp_path / "photos/ant/1.png")


@pytest.mark.parametrize(
    ("files", "root", "parts"),
    [
        ([], None, ["dataset.root is not set", "ROOT/CLASS/image.jpg"]),
        ([], "???", ["dataset.root is not set"]),
        ([], "nowhere", ["dataset.root", "nowhere", "no such folder"]),
        (["a.png"], "a.png", ["is a file"]),
        ([], "", ["not set"]),
        (["r/1.png", "r/2.png"], "r", ["images directly in it", "task=predict", "dataset=csv"]),
        (["r/.keep.png"], "r", ["has no class folders"]),
        (["r/train/1.png", "r/val/1.png"], "r", ["r/train", "images directly in it"]),
        (["r/val/a/1.png", "r/test/a/1.png"], "r", ["test, val but no train folder"]),
        (["r/train/a/1.png", "r/val/b/1.png", "r/val/a/1.png"], "r", ["r/val", "not in train", "b"]),
        (["r/a/1.png", "r/b/.1.png", "r/c/.1.png"], "r", ["without any image", "b, c"]),
        (["r/train/a/1.png", "r/train/b/1.png", "r/test/a/.1.png"], "r", ["no images in", "r/test"]),
        (["r/train/a/1.png", "r/val/a/1.png", "r/valid/a/1.png"], "r", ["several folders for val: val, valid"]),
    ],
)
def test_mistakes(make_image, tmp_path, files, root, parts):
    for name in files:
        make_image(name)
    with pytest.raises(TransferkitError) as caught:
        load({"root": root and (root if root == "???" else str(tmp_path / root))}, seed=0)
    for part in parts:
        assert part in str(caught.value)


def test_a_single_class(make_image, tmp_path):
    for i in range(5):
        make_image(f"ant/{i}.png")
    with pytest.raises(TransferkitError, match=r"single class \(ant\)"):
        load_data({"kind": "folder", "root": tmp_path}, seed=0)


def test_train_and_val_end_to_end(make_image, tmp_path):
    for split, count in (("train", 10), ("val", 4)):
        for name in ("ant", "bee"):
            for i in range(count):
                make_image(f"{split}/{name}/{i}.png")
    data = load_data({"kind": "folder", "root": tmp_path}, seed=0)
    assert (len(data.train), len(data.val), len(data.test)) == (16, 4, 8)
    assert np.bincount(data.val.labels).tolist() == [2, 2]
    assert all("/val/" in name for name in data.test.names)
    assert data.name == tmp_path.name
    assert data.skipped == []
