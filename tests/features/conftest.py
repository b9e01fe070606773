from pathlib import Path

import pytest

from tests.features.extraction import network
from transferkit.backbones.backbone import Backbone
from transferkit.features.store import FeatureCache


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return network()


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path / "cache")
