"""Comparison of several networks: on the same images, each decoded once; those without weights are left out."""

import json

import numpy as np
import pytest

from tests.conftest import compose_settings
from transferkit.advisor.network_scores import ALL, TOP, score_features
from transferkit.advisor.network_table import COLUMNS, networks_text, read_networks, to_plain, write_networks
from transferkit.advisor.networks import Comparison, compare_networks, load_networks
from transferkit.backbones import download
from transferkit.data.imagedata import ImageData
from transferkit.data.imageset import _Arrays
from transferkit.errors import TransferkitError, WeightsUnavailable
from transferkit.features.extract import extract_features
from transferkit.folds import find_chooser

NAMES = ["narrow_resnet10", "resnet_glyphs", "resnet50"]


@pytest.fixture(scope="module")
def offline():
    """No network, and so no weights of ResNet-50."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(download, "_unreachable", lambda url: "no network: for this test")
        yield


class Watched:
    """Counts the images that are decoded."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.decoded: list[int] = []
        original = _Arrays.identified

        def watched(store, i):
            self.decoded.append(i)
            return original(store, i)

        patch.setattr(_Arrays, "identified", watched)


@pytest.fixture(scope="module")
def measured(offline: None, digits: ImageData) -> tuple[Comparison, list[int]]:
    settings = compose_settings("auto", "selection.repeats=1")
    with pytest.MonkeyPatch.context() as patch:
        watched = Watched(patch)
        return compare_networks(digits, *load_networks(NAMES), settings, 1000), watched.decoded


@pytest.fixture(scope="module")
def comparison(measured: tuple[Comparison, list[int]]) -> Comparison:
    return measured[0]


def test_each_image_is_decoded_once(measured, digits):
    assert len(measured[1]) == len(digits.train) + len(digits.val) == measured[0].images


def test_the_pretrained_network_beats_the_random_one(comparison):
    first, second = comparison.scores
    assert (first.name, second.name) == ("resnet_glyphs", "narrow_resnet10")
    assert first.best.top1 > second.best.top1 + 0.05
    assert first.interval[0] < first.best.top1 < first.interval[1]
    assert second.random
    assert len(comparison.chooser.folds) == 5


def test_figures_are_those_of_the_network_alone(comparison, digits):
    backbone = load_networks(["resnet_glyphs"])[0]["resnet_glyphs"]
    parts = [
        extract_features(backbone, images, list(backbone.feature_stages), cache=None)
        for images in (digits.train, digits.val)
    ]
    features = {stage: np.concatenate([part[stage] for part in parts]) for stage in parts[0]}
    labels = np.concatenate([digits.train.labels, digits.val.labels])
    selection = compose_settings("auto", "selection.repeats=1")["selection"]
    folds = find_chooser(selection, digits.train.labels, digits.val.labels, digits.fit_contents()).folds
    probes, neighbors = score_features(features, labels, folds)
    score = comparison.scores[0]
    assert score.neighbors == pytest.approx(neighbors, abs=0.02)
    for name in (TOP, ALL):
        assert score.probes[name].top1 == pytest.approx(probes[name].top1, abs=0.02)


def test_weights_that_cannot_be_had_are_left_out_with_the_reason(comparison):
    assert list(comparison.left_out) == ["resnet50"]
    reason = comparison.left_out["resnet50"]
    assert reason.startswith("the weights of resnet50 (IMAGENET1K_V2) are not on this machine")
    assert "no network" in reason
    assert "Without a network" not in reason


def test_without_any_weights_the_message_names_what_works(offline):
    with pytest.raises(WeightsUnavailable, match=r"backbones=\[efficientnet_lite0\]") as refused:
        load_networks(["resnet50", "vit_small_patch14_dinov2"])
    assert "\n  resnet50: the weights of" in str(refused.value)
    assert "\n  vit_small_patch14_dinov2: the weights of" in str(refused.value)


def test_all_wrong_names_are_told_at_once(offline):
    with pytest.raises(TransferkitError) as refused:
        load_networks(["resnet50", "resnet5O", "timm", "narrow_resnet10"])
    first, second = str(refused.value).splitlines()
    assert "backbones: resnet5O:" in first
    assert "Did you mean" in first
    assert "backbones: timm: timm is no network, but a library" in second


def test_it_is_written_and_read_back(comparison, tmp_path):
    plain = to_plain(comparison, frugal=False)
    write_networks(tmp_path, plain)
    assert read_networks(tmp_path) == json.loads(json.dumps(plain, allow_nan=False))
    lines = (tmp_path / "networks.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert [line.split(",")[0] for line in lines[1:]] == ["resnet_glyphs", "narrow_resnet10", "resnet50"]
    assert read_networks(tmp_path / "none") is None


def test_the_text_has_every_network_and_the_decision(comparison):
    text = networks_text(to_plain(comparison, frugal=False))
    assert "Used: resnet_glyphs" in text
    assert "The best by prior is the same" in text
    assert "Left out: resnet50: the weights of resnet50" in text
    assert max(map(len, text.splitlines()[:5])) <= 130
