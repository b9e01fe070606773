"""From a configuration to checked, split images."""

from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from transferkit.data.load_data import load_data
from transferkit.errors import TransferkitError


@pytest.fixture
def photos(make_image, tmp_path):
    for name in ("ant", "bee"):
        for i in range(20):
            make_image(f"{name}/{i:02}.jpg")
    return tmp_path


def spoil(photos: Path) -> None:
    (photos / "ant/03.jpg").write_bytes(b"")
    (photos / "ant/07.jpg").write_text("moved permanently")
    whole = (photos / "bee/05.jpg").read_bytes()
    (photos / "bee/05.jpg").write_bytes(whole[: len(whole) // 2])


def test_all_unreadable_images_are_in_one_error(photos):
    spoil(photos)
    with pytest.raises(TransferkitError) as caught:
        load_data({"kind": "folder", "root": photos}, seed=0)
    message = str(caught.value)
    assert "3 of 40 images cannot be read" in message
    assert "dataset.on_error=skip" in message
    for name, reason in (("ant/03.jpg", "empty"), ("ant/07.jpg", "not an image"), ("bee/05.jpg", "truncated")):
        assert any(name in line and reason in line for line in message.splitlines())


def test_long_lists_are_cut(photos):
    for path in [*photos.glob("ant/*.jpg"), *photos.glob("bee/0*.jpg")]:
        path.write_bytes(b"")
    with pytest.raises(TransferkitError) as caught:
        load_data({"kind": "folder", "root": photos}, seed=0)
    assert "30 of 40" in str(caught.value)
    assert "and 10 more" in str(caught.value)
    assert str(caught.value).count(".jpg") == 20


def test_skip_leaves_them_out_and_lists_them(photos):
    spoil(photos)
    data = load_data({"kind": "folder", "root": photos, "on_error": "skip"}, seed=0)
    used = [*data.train.names, *data.val.names, *data.test.names]
    assert len(used) == 37
    assert sorted(name for name, _ in data.skipped) == [
        str(photos / n) for n in ("ant/03.jpg", "ant/07.jpg", "bee/05.jpg")
    ]
    assert not {name for name, _ in data.skipped} & set(used)
    assert "3 unreadable images left out" in data.split_note


def test_a_class_that_loses_all_its_images(photos):
    for path in photos.glob("bee/*.jpg"):
        path.write_bytes(b"")
    with pytest.raises(TransferkitError, match="without a readable training image: bee"):
        load_data({"kind": "folder", "root": photos, "on_error": "skip"}, seed=0)


def test_a_test_split_that_loses_all_its_images(photos, make_image, tmp_path):
    photos.joinpath("train").mkdir()
    for name in ("ant", "bee"):
        photos.joinpath(name).rename(photos / "train" / name)
        make_image(f"test/{name}/1.jpg").write_bytes(b"")
    with pytest.raises(TransferkitError, match="no readable image in the test split"):
        load_data({"kind": "folder", "root": photos, "on_error": "skip"}, seed=0)


def test_ids_come_with_the_check(photos):
    data = load_data({"kind": "folder", "root": photos}, seed=0)
    for path in photos.glob("*/*.jpg"):
        path.unlink()
    assert len({*data.train.ids(), *data.val.ids(), *data.test.ids()}) == 40


def test_progress_counts_all_splits_together(photos, make_image, monkeypatch):
    photos.joinpath("train").mkdir()
    for name in ("ant", "bee"):
        photos.joinpath(name).rename(photos / "train" / name)
        make_image(f"val/{name}/1.jpg")
    seen = []

    @contextmanager
    def recorded(label, total):
        seen.append(total)
        yield seen.append

    monkeypatch.setattr("transferkit.data.load_data.progress", recorded)
    load_data({"kind": "folder", "root": photos}, seed=0)
    total, *done = seen
    assert total == sum(done) == 42


@pytest.mark.parametrize(
    ("cfg", "parts"),
    [
        ({}, ["dataset.kind=null", "folder, csv, torchvision, digits"]),
        ({"kind": "flder"}, ["dataset.kind=flder", "folder"]),
        ({"kind": "digits", "perclass": 3}, ["dataset.perclass", "Did you mean dataset.per_class?"]),
        (
            {"kind": "digits", "root": "x", "file": "y"},
            ["dataset.root: there is no", "dataset.file: there is no"],
        ),
        ({"kind": "digits", "val_fraction": 0}, ["dataset.val_fraction=0", "above 0 and below 1"]),
        ({"kind": "digits", "test_fraction": "a"}, ["dataset.test_fraction=a"]),
        ({"kind": "digits", "test_fraction": 0.5, "val_fraction": 0.5}, ["below 1 - dataset.test_fraction"]),
        ({"kind": "digits", "per_class": 1}, ["dataset.per_class=1", "from 2 to"]),
        ({"kind": "digits", "per_class": 2.5}, ["dataset.per_class=2.5"]),
        ({"kind": "digits", "per_class": True}, ["dataset.per_class=true"]),
        ({"kind": "digits", "per_class": 500}, ["have fewer training images", "9 ("]),
        ({"kind": "digits", "fraction": 1.5}, ["dataset.fraction=1.5"]),
        ({"kind": "digits", "fraction": 0.5, "per_class": 5}, ["dataset.fraction", "dataset.per_class"]),
        ({"kind": "digits", "max_test": 0}, ["dataset.max_test=0"]),
        ({"kind": "digits", "on_error": "ignore"}, ["dataset.on_error=ignore", "error or skip"]),
    ],
)
def test_mistakes_in_the_configuration(cfg, parts):
    with pytest.raises(TransferkitError) as caught:
        load_data(cfg, seed=0)
    for part in parts:
        assert part in str(caught.value)


def test_digits():
    data = load_data({"kind": "digits"}, seed=0)
    assert (len(data.train), len(data.val), len(data.test)) == (1079, 359, 359)
    assert data.class_names == [str(i) for i in range(10)]
    reference = load_digits()
    for images in (data.train, data.val, data.test):
        rows = np.array(images.names, dtype=int)
        assert images.labels.tolist() == reference.target[rows].tolist()
        assert np.abs(np.asarray(images[0][0])[..., 0] / 255 * 16 - reference.images[rows[0]]).max() < 0.05


def test_digits_differ_by_seed_and_agree_by_seed():
    rows = [load_data({"kind": "digits", "per_class": 5}, seed).rows() for seed in (0, 0, 1)]
    assert rows[0] == rows[1]
    assert rows[0] != rows[2]
    fitted = [label for _, label, split in rows[0] if split != "test"]
    assert [fitted.count(str(digit)) for digit in range(10)] == [5] * 10


def test_skipping_finds_damage_in_the_middle_too(photos):
    path = photos / "ant/05.jpg"
    content = path.read_bytes()
    table = content.index(b"\xff\xc4")
    path.write_bytes(content[: table + 5] + b"\xff" * 16 + content[table + 21 :])
    data = load_data({"kind": "folder", "root": photos, "on_error": "skip"}, seed=0)
    assert [name for name, _ in data.skipped] == [str(path)]
    assert all(len(images) == len([images.image(i) for i in range(len(images))]) for images in data.splits.values())
