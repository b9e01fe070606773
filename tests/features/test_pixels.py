import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.features.damage import flip_a_bit, some_files
from transferkit.backbones.backbone import Backbone
from transferkit.backbones.create import create_backbone
from transferkit.data.imageset import ImageSet
from transferkit.features.extract import ExtractionStats, Forward, extract_features
from transferkit.features.pixels import describe_pixels
from transferkit.features.store import FeatureCache


def network(name: str = "resnet18", **changes: Any) -> Backbone:
    torch.manual_seed(0)
    return create_backbone(name, weights=None, source="torchvision", input_size=32, **changes)


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path)


@pytest.fixture
def images() -> ImageSet:
    return ImageSet.from_arrays(np.random.default_rng(0).integers(0, 256, (9, 40, 50, 3), dtype=np.uint8), np.zeros(9))


def extract(backbone: Backbone, images: ImageSet, cache: FeatureCache) -> tuple[np.ndarray, ExtractionStats]:
    stats = ExtractionStats()
    found = extract_features(
        backbone, images, ["stage2"], cache=None, pixels=cache, batch_size=4, num_workers=0, stats=stats
    )
    return found["stage2"], stats


def test_another_network_decodes_nothing(cache, images) -> None:
    _, first = extract(network(), images, cache)
    other = network("vgg11", mean=0.5)  # another normalisation of the same pixels
    got, second = extract(other, images, cache)
    expected = extract_features(other, images, ["stage2"], cache=None, num_workers=0)["stage2"]
    assert first.loaded == 9
    assert second.loaded == 0
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_new_images_are_decoded_and_the_others_not(cache, images) -> None:
    extract(network(), images.subset(np.arange(5)), cache)
    got, stats = extract(network(), images, cache)
    expected = extract_features(network(), images, ["stage2"], cache=None, num_workers=0)["stage2"]
    assert stats.loaded == 4
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_another_size_has_pixels_of_its_own(cache, images) -> None:
    extract(network(), images, cache)
    larger = create_backbone("resnet18", weights=None, source="torchvision", input_size=48)
    assert extract(larger, images, cache)[1].loaded == 9


def test_damaged_pixels_are_decoded_anew(cache, images, tmp_path) -> None:
    expected, _ = extract(network(), images, cache)
    flip_a_bit(some_files(tmp_path, "*.rows")[0], -1)
    got, stats = extract(network(), images, cache)
    assert 0 < stats.loaded < 9
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_an_interrupted_pass_leaves_its_pixels(cache, images, monkeypatch) -> None:
    calls = []

    def stop(*args: Any) -> Any:
        calls.append(1)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return whole(*args)

    whole = Forward.__call__
    monkeypatch.setattr(Forward, "__call__", stop)
    with pytest.raises(KeyboardInterrupt):
        extract(network(), images, cache)
    monkeypatch.undo()
    assert extract(network(), images, cache)[1].loaded == 5  # one batch of four was kept


@pytest.mark.parametrize("num_workers", [0, 2])
def test_pixels_are_read_by_whoever_loads_images(cache, images, num_workers) -> None:
    expected, _ = extract(network(), images, cache)
    stats = ExtractionStats()
    given: Any = {"cache": None, "pixels": cache, "num_workers": num_workers, "stats": stats}
    got = extract_features(network(), images, ["stage2"], **given)["stage2"]
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    assert stats.loaded == 0


def test_pixels_are_a_quarter_of_the_input(cache, images, tmp_path) -> None:
    extract(network(), images, cache)
    assert sum(rows.stat().st_size for rows in tmp_path.glob("pixels/*/*/*.rows")) == 9 * 3 * 32 * 32
    [entry] = tmp_path.glob("pixels/*/*/entry.json")
    described = json.loads(json.dumps(describe_pixels(network().preprocess)))
    assert json.loads(entry.read_text()) == {**described, "store": 3}
