"""What the tests of several strategies need: a context made of a network, data and the strategy's settings."""

from pathlib import Path
from typing import Any

from transferkit.backbones.backbone import Backbone
from transferkit.data.imagedata import ImageData
from transferkit.features.from_settings import make_extractor
from transferkit.strategies.context import Context
from transferkit.timing import StepTimer

SETTINGS: dict[str, Any] = {
    "cache": {"enabled": False, "dir": None, "max_gb": 1},
    "trainer": {"batch_size": 64, "num_workers": 0, "device": "cpu", "precision": "fp32", "compile": False},
    "augment": {"name": "none", "transforms": {}},
    "seed": 0,
}


def make_context(backbone: Backbone, data: ImageData, strategy: dict[str, Any], **changes: Any) -> Context:
    """Return a context for `strategy`; `changes` replace groups of the settings."""
    settings = {**SETTINGS, "strategy": strategy, **changes}
    return Context(backbone, data, settings, make_extractor(settings), StepTimer(), Path())
