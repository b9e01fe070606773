"""The same image in two splits, or under two labels."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

from transferkit.data.identical import find_identical, number_contents, sentences
from transferkit.data.imageset import ImageSet, _Arrays
from transferkit.data.load_data import load_data
from transferkit.errors import TransferkitError
from transferkit.targets.class_target import ClassTarget

COPIES = {  # from to
    "train/ant/0.png": ["test/ant/copy0.png", "val/ant/copy0.png"],
    "train/ant/1.png": ["test/bee/copy1.png"],
    "val/bee/0.png": ["train/bee/copy.png"],
    "test/bee/0.png": ["val/bee/copy.png"],
}


@pytest.fixture
def leaky(make_image, tmp_path: Path) -> Path:
    """Train, val and test with copies: 2 of test in train, 2 in val, 2 of val in train, 2 under two labels."""
    for split, count in (("train", 8), ("val", 4), ("test", 5)):
        for name in ("ant", "bee"):
            for i in range(count):
                make_image(f"r/{split}/{name}/{i}.png")
    for source, targets in COPIES.items():
        for target in targets:
            shutil.copy(tmp_path / "r" / source, tmp_path / "r" / target)
    return tmp_path / "r"


def load(root: Path, **options):
    return load_data({"kind": "folder", "root": root, **options}, seed=0)


def test_they_are_counted_and_told(leaky, caplog):
    with caplog.at_level(logging.WARNING):
        data = load(leaky)
    facts = data.facts()["identical"]
    assert {key: count for key, count in facts.items() if key != "examples"} == {
        "test_in_train": 2,
        "test_in_val": 2,
        "val_in_train": 2,
        "other_label": 2,
    }
    assert len(facts["examples"]) == 4
    assert f"{leaky / 'train/ant/1.png'} (train, ant)" in str(facts["examples"])
    assert f"{leaky / 'test/bee/copy1.png'} (test, bee)" in str(facts["examples"])
    assert "2 images of test are also in train (same content)" in caplog.text
    assert "2 images are under different labels" in caplog.text
    assert (len(data.train), len(data.val), len(data.test)) == (17, 10, 12)
    json.dumps(facts)


def test_error(leaky):
    with pytest.raises(TransferkitError, match="2 images of test are also in train") as caught:
        load(leaky, on_leak="error")
    assert "dataset.on_leak=drop" in str(caught.value)
    assert f"{leaky / 'train/ant/0.png'} (train, ant) = " in str(caught.value)


def test_drop_leaves_the_held_out_splits_as_they_are(leaky):
    before, data = load(leaky), load(leaky, on_leak="drop")
    assert data.test.names == before.test.names
    gone = {split: set(images.names) - set(data.splits[split].names) for split, images in before.splits.items()}
    assert gone["val"] == {str(leaky / "val/ant/copy0.png"), str(leaky / "val/bee/copy.png")}
    assert gone["train"] == {str(leaky / f"train/{n}.png") for n in ("ant/0", "ant/1", "bee/copy")}
    facts = data.facts()["identical"]
    assert facts == {"test_in_train": 0, "test_in_val": 0, "val_in_train": 0, "other_label": 0, "examples": []}
    assert "3 images left out of train, which are held out too" in data.split_note


def test_drop_looks_at_the_splits_that_are_used_only(leaky):
    data = load(leaky, on_leak="drop", per_class=4)  # the given val is not used
    assert not any("/val/" in name for name in [*data.train.names, *data.val.names])
    assert "left out of val" not in data.split_note
    assert not any(data.facts()["identical"][f"{pair}"] for pair in ("test_in_train", "test_in_val", "val_in_train"))


def test_drop_that_leaves_nothing_says_so(make_image, tmp_path):
    for name in ("train/ant/1.png", "train/bee/1.png", "train/bee/2.png"):
        make_image(f"r/{name}")
    (tmp_path / "r/test/ant").mkdir(parents=True)
    shutil.copy(tmp_path / "r/train/ant/1.png", tmp_path / "r/test/ant/1.png")
    with pytest.raises(TransferkitError, match="on_leak=drop leaves no image in train of ant"):
        load(tmp_path / "r", on_leak="drop")


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("options", [{}, {"per_class": 6}, {"fraction": 0.5}])
def test_a_cut_keeps_copies_together(make_image, tmp_path, seed, options):
    for name in ("ant", "bee"):
        for i in range(20):
            path = make_image(f"r/{name}/{i:02}.png")
            for copy in range(i % 3):
                shutil.copy(path, path.with_name(f"{i:02}-{copy}.png"))
    shutil.copy(tmp_path / "r/ant/03.png", tmp_path / "r/bee/wrong.png")
    data = load_data({"kind": "folder", "root": tmp_path / "r", "on_leak": "error", **options}, seed)
    used = {split: set(images.ids()) for split, images in data.splits.items()}
    assert not used["train"] & used["val"]
    assert not used["train"] & used["test"]
    assert not used["val"] & used["test"]
    if not options:
        assert len(data.rows()) == 79
        assert 6 <= len(used["test"]) <= 10  # a fifth of 40 contents
        assert 10 <= len(data.test) <= 22  # about a fifth of the images
    if "per_class" in options:
        labels = [label for _, label, split in data.rows() if split != "test"]
        assert {name: labels.count(name) for name in ("ant", "bee")} == {"ant": 6, "bee": 6}


def test_a_class_of_others_copies_stays_in_train(make_image, tmp_path):
    for i in range(10):
        path = make_image(f"r/ant/{i}.png")
        if i < 2:
            (tmp_path / "r/bee").mkdir(exist_ok=True)
            shutil.copy(path, tmp_path / f"r/bee/{i}.png")
    for seed in range(10):
        data = load_data({"kind": "folder", "root": tmp_path / "r", "on_leak": "error", "test_fraction": 0.5}, seed)
        assert set(data.train.labels) == {0, 1}


def test_arrays_are_compared_by_pixels_and_hashed_once(monkeypatch):
    calls: list[int] = []
    content = _Arrays.content

    def counted(self: _Arrays, i: int) -> bytes:
        calls.append(i)
        return content(self, i)

    monkeypatch.setattr(_Arrays, "content", counted)
    data = load_data({"kind": "digits"}, seed=0)
    assert sorted(calls) == list(range(1797))
    for images in data.splits.values():
        images.ids()
    assert len(calls) == 1797


def test_figures_against_a_plain_count():
    rng = np.random.default_rng(0)
    splits = {
        name: ImageSet.from_arrays(rng.integers(0, 2, (30, 2, 3), dtype=np.uint8), rng.integers(0, 3, 30))
        for name in ("train", "val", "test")
    }
    found = find_identical(splits, number_contents(splits), ClassTarget(("a", "b", "c")))
    pixels = {name: [images.content(i) for i in range(len(images))] for name, images in splits.items()}
    for a, b in (("test", "train"), ("test", "val"), ("val", "train")):
        assert found.shared[f"{a}_in_{b}"] == sum(content in pixels[b] for content in pixels[a])
    everything = [
        (c, label) for n, cs in pixels.items() for c, label in zip(cs, splits[n].labels.tolist(), strict=True)
    ]
    assert found.other_label == sum(any(c == d and x != y for d, y in everything) for c, x in everything)
    assert len(found.examples) == 5
    assert all(2 <= len(group) <= 4 for group in found.examples)


def test_nothing_identical_is_nothing_to_say():
    facts = {"test_in_train": 0, "test_in_val": 0, "val_in_train": 0, "other_label": 0, "examples": []}
    assert sentences(facts) == []
    assert sentences({**facts, "val_in_train": 1}) == [
        "1 image of val is also in train (same content): selection on val is less reliable."
    ]
