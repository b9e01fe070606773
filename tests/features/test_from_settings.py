"""Features from the configuration's cache: kept for weights as they were loaded, never for weights trained since."""

import copy
from pathlib import Path
from typing import Any

import pytest

import transferkit as tk
from tests.conftest import compose_settings
from transferkit.backbones.backbone import Backbone
from transferkit.data.imagedata import ImageData
from transferkit.features.extract import Extractor
from transferkit.features.from_settings import make_extractor


@pytest.fixture(scope="module")
def data() -> ImageData:
    return tk.load_data({"kind": "digits", "name": "digits", "per_class": 2, "max_test": 10}, seed=0)


@pytest.fixture
def backbone() -> Backbone:
    return tk.create_backbone("narrow_resnet10", "resnet_glyphs")


def test_features_of_trained_stages_are_not_kept(
    backbone: Backbone, data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[Any] = []
    monkeypatch.setattr(Extractor, "extract", lambda self, *_: used.append(self.store))
    extract = make_extractor(compose_settings("linear_probe", "cache.enabled=true", f"cache.dir={tmp_path}"))
    extract(backbone, data.test, ["stage5"])
    backbone.requires_grad_(False)
    shorter = backbone.truncate("stage5")
    shorter.stages["stage4"].requires_grad_(True)
    shorter.mark_trained()
    assert [stage for stage in backbone.feature_stages if backbone.as_loaded(stage)] == ["stage1", "stage2", "stage3"]
    for stages in (["stage5"], ["stage3", "stage4"], ["stage3"]):
        extract(copy.deepcopy(backbone), data.test, stages)
    assert [cache is not None for cache in used] == [True, False, False, True]
