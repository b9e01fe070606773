"""torchvision's sets, in miniature, against torchvision's own items."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torchvision import datasets

from tests.data.miniatures import BUILDERS
from transferkit.data.load_data import load_data
from transferkit.data.sources.torchvision_sets import load
from transferkit.data.sources.torchvision_table import SETS
from transferkit.errors import TransferkitError


def config(name: str, root: Path, **options: Any) -> dict[str, Any]:
    return {"set": None, "name": name, "root": str(root), "download": False, **options}


def accept_any_md5(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let torchvision take a miniature for the official files."""
    module = importlib.import_module(getattr(datasets, SETS[name].cls).__module__)
    if hasattr(module, "check_integrity"):
        monkeypatch.setattr(module, "check_integrity", lambda path, md5=None: Path(path).is_file())


def test_every_set_has_a_miniature():
    assert sorted(BUILDERS) == sorted(SETS)


@pytest.mark.parametrize("name", sorted(SETS))
def test_images_and_labels_are_those_of_torchvision(tmp_path, monkeypatch, name):
    BUILDERS[name](tmp_path)
    accept_any_md5(monkeypatch, name)
    raw = load(config(name, tmp_path), seed=0)
    assert list(raw.splits) == list(SETS[name].splits)
    for split, arguments in SETS[name].splits.items():
        reference = getattr(datasets, SETS[name].cls)(root=str(tmp_path), **arguments)
        ours = raw.splits[split]
        assert len(ours) == len(reference) > 0
        for i in range(len(reference)):
            image, label = reference[i]
            assert np.array_equal(np.asarray(ours[i][0]), np.asarray(image.convert("RGB")))
            assert raw.class_names[ours.labels[i]] == class_name(name, reference, label)


def class_name(name: str, reference: Any, label: int) -> str:
    if name in ("svhn", "gtsrb"):
        return str(label)
    if name == "pets":  # torchvision lists the breeds that occur; in the miniature three of 37
        return {0: "Abyssinian", 1: "American Bulldog", 36: "Yorkshire Terrier"}[label]
    names = reference.categories if name == "caltech101" else reference.classes
    return str(names[label])


@pytest.mark.parametrize("name", sorted(SETS))
def test_miniatures_run_end_to_end_with_other_check_sums(tmp_path, monkeypatch, name):
    BUILDERS[name](tmp_path)
    if SETS[name].pickled:
        accept_any_md5(monkeypatch, name)
    data = load_data({"kind": "torchvision", **config(name, tmp_path)}, seed=0)
    assert set(data.train.labels) == set(range(len(data.class_names)))
    assert set(data.test.labels) <= set(data.train.labels)
    assert len(data.val) > 0
    checked = name in ("flowers", "stl10", "svhn")
    assert ("not the official ones" in data.split_note) == checked


def test_flowers_uses_the_official_splits(tmp_path):
    BUILDERS["flowers"](tmp_path)
    data = load_data({"kind": "torchvision", **config("flowers", tmp_path)}, seed=0)
    assert (len(data.train), len(data.val), len(data.test)) == (20, 10, 10)
    assert data.class_names == ["pink primrose", "hard-leaved pocket orchid", "passion flower", "blackberry lily"]


def test_pickles_that_are_not_the_official_ones_are_not_opened(tmp_path):
    BUILDERS["cifar10"](tmp_path)
    with pytest.raises(TransferkitError, match=r"cifar-10-batches-py is not the official copy.*pickles"):
        load(config("cifar10", tmp_path), seed=0)


def test_an_image_that_is_missing_is_listed(tmp_path):
    BUILDERS["flowers"](tmp_path)
    (tmp_path / "flowers-102/jpg/image_00007.jpg").unlink()
    with pytest.raises(TransferkitError, match=r"1 of 40 images.*\n.*image_00007.jpg: no such file"):
        load_data({"kind": "torchvision", **config("flowers", tmp_path)}, seed=0)


@pytest.mark.parametrize("name", sorted(SETS))
def test_a_missing_set_says_what_goes_where(tmp_path, name):
    with pytest.raises(TransferkitError) as caught:
        load(config(name, tmp_path / "data"), seed=0)
    message = str(caught.value)
    assert f"dataset {name}: {tmp_path / 'data' / SETS[name].present} does not exist" in message
    assert f"dataset.root={tmp_path / 'data'}: {SETS[name].wanted}" in message
    assert ("dataset.download=true" in message) == SETS[name].downloadable
    assert "dataset=digits" in message
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("name", ["flowers", "mnist", "svhn", "eurosat"])
def test_a_download_without_network(tmp_path, monkeypatch, name):
    def no_network(*args: Any, **kwargs: Any) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    with pytest.raises(TransferkitError) as caught:
        load(config(name, tmp_path, download=True), seed=0)
    message = str(caught.value)
    assert "download failed" in message
    assert "Name or service not known" in message
    assert SETS[name].wanted in message
    assert "\n" not in message


def test_stanford_cars_says_that_it_cannot_be_downloaded(tmp_path):
    with pytest.raises(TransferkitError, match="can no longer download"):
        load(config("stanford_cars", tmp_path, download=True), seed=0)


def test_broken_label_files_are_an_error(tmp_path):
    BUILDERS["flowers"](tmp_path)
    (tmp_path / "flowers-102/imagelabels.mat").write_bytes(b"no MATLAB file")
    with pytest.raises(TransferkitError, match=r"flowers-102/jpg cannot be used"):
        load(config("flowers", tmp_path), seed=0)


def test_an_unknown_set(tmp_path):
    with pytest.raises(TransferkitError, match=r"dataset.set=imagenet is unknown. Valid: aircraft"):
        load(config("imagenet", tmp_path), seed=0)


def test_set_may_be_renamed(tmp_path):
    BUILDERS["eurosat"](tmp_path)
    data = load_data({"kind": "torchvision", **config("my satellites", tmp_path, set="eurosat")}, seed=0)
    assert data.name == "my satellites"
