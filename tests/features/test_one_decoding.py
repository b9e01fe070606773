"""Several networks from one decoding, against each network alone."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.features.extraction import photographs, write_photographs
from transferkit.backbones.backbone import Backbone
from transferkit.backbones.create import create_backbone
from transferkit.data.imageset import ImageSet, _Files
from transferkit.errors import TransferkitError
from transferkit.features import one_decoding
from transferkit.features.extract import ExtractionStats, Extractor, extract_features
from transferkit.features.fill import Counts
from transferkit.features.one_decoding import Crops, Wanted, extract_together
from transferkit.features.store import FeatureCache

STAGES = ("stage3", "stage5")


def small(name: str, size: int, seed: int) -> Backbone:
    torch.manual_seed(seed)
    return create_backbone(name, weights=None, source="embedded", input_size=size)


@pytest.fixture(scope="module")
def networks() -> dict[str, Wanted]:
    """Two of the same input and normalisation, one of another size."""
    backbones = {
        "one": small("narrow_resnet10", 32, 0),
        "two": small("narrow_resnet10", 32, 1),
        "large": small("narrow_vgg8", 48, 2),
    }
    return {name: Wanted(backbone, STAGES) for name, backbone in backbones.items()}


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every decoding of a file."""
    seen: list[int] = []
    original = _Files.identified

    def watched(self, i):
        seen.append(i)
        return original(self, i)

    monkeypatch.setattr(_Files, "identified", watched)
    return seen


def extractor(cache: Path | None) -> Extractor:
    store = FeatureCache(cache) if cache else None
    return Extractor(store, batch_size=8, num_workers=0, device="cpu", compile=False, progress=False)


@pytest.mark.parametrize("cached", [True, False])
def test_each_image_is_decoded_once_and_the_features_are_those_of_each_network_alone(
    networks, decoded, tmp_path, cached
):
    images = ImageSet.from_files(write_photographs(tmp_path / "images", 20), np.arange(20) % 2)
    found = extract_together(extractor(tmp_path / "cache" if cached else None), networks, images)
    assert sorted(decoded) == list(range(20))
    for name, wanted in networks.items():
        alone = extract_features(wanted.backbone, images, STAGES, cache=None, num_workers=0, compile=False)
        for stage in STAGES:
            np.testing.assert_allclose(found[name][stage], alone[stage], rtol=1e-5, atol=1e-6)


def test_each_network_has_its_own_entries_so_that_nothing_is_computed_again(networks, decoded, tmp_path):
    images = ImageSet.from_files(write_photographs(tmp_path / "images", 20), np.arange(20) % 2)
    cache = tmp_path / "cache"
    part = {name: networks[name] for name in ("one", "large")}
    extract_together(extractor(cache), part, images.subset(np.arange(12)))
    stats = ExtractionStats()
    extract_features(
        networks["large"].backbone, images.subset(np.arange(12)), STAGES, cache=FeatureCache(cache), stats=stats
    )
    assert stats.loaded == 0
    decoded.clear()
    counts = Counts()
    extract_together(extractor(cache), networks, images, counts)
    assert counts.loaded == len(decoded) == 20
    assert counts.computed == {f"{name} {stage}": (20 if name == "two" else 8) for name in networks for stage in STAGES}
    decoded.clear()
    extract_together(extractor(cache), networks, images)
    assert not decoded


def test_many_networks_are_filled_in_parts_of_few_locks(networks, decoded, tmp_path, monkeypatch):
    images = ImageSet.from_files(write_photographs(tmp_path / "images", 20), np.arange(20) % 2)
    monkeypatch.setattr(one_decoding, "MOST_LOCKS", 60)
    found = extract_together(extractor(tmp_path / "cache"), networks, images)
    assert sorted(decoded) == list(range(20))
    whole = extract_together(extractor(None), networks, images)
    np.testing.assert_allclose(found["two"]["stage5"], whole["two"]["stage5"], rtol=1e-5, atol=1e-6)


def test_the_images_that_can_be_read_are_kept_and_the_others_are_named(networks, decoded, tmp_path):
    paths = write_photographs(tmp_path / "images", 20)
    paths[3].write_bytes(paths[3].read_bytes()[:60])
    images = ImageSet.from_files(paths, np.arange(20) % 2)
    with pytest.raises(TransferkitError, match=r"003\.png"):
        extract_together(extractor(tmp_path / "cache"), networks, images)
    decoded.clear()
    rest = images.subset([i for i in range(20) if i != 3])
    extract_together(extractor(tmp_path / "cache"), networks, rest)
    assert not decoded


def test_networks_that_differ_in_the_normalisation_share_a_crop(networks):
    other = networks["one"].backbone.preprocess.override(mean=0.1, std=0.7)
    crops = Crops.of({"one": networks["one"].backbone.preprocess, "other": other})
    image = photographs(1).image(0)
    pixels = torch.stack([crops(image)])
    assert pixels.shape == (1, 3 * 32 * 32)
    torch.testing.assert_close(other.normalize(crops.of_network("other", pixels))[0], other(image))
