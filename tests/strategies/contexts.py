"""A context as `cli.fit` makes one: of a network, data and the settings of a strategy."""

from pathlib import Path
from typing import Any

from tests.conftest import compose_settings
from transferkit.backbones.backbone import Backbone
from transferkit.data.imagedata import ImageData
from transferkit.features.from_settings import make_extractor
from transferkit.strategies.context import Context, find_plan
from transferkit.timing import StepTimer


def make_context(backbone: Backbone, data: ImageData, settings: dict[str, Any], run_dir: Path | None = None) -> Context:
    extract, plan = make_extractor(settings), find_plan(settings)
    return Context(backbone, data, settings, extract, StepTimer(), run_dir or Path(), plan)


def short_settings(strategy: str, *overrides: str) -> dict[str, Any]:
    """The configuration of a finetuning strategy, with phases of two epochs of small batches, chosen on val."""
    chosen = () if any(override.startswith("selection=") for override in overrides) else ("selection=val",)
    settings = compose_settings(strategy, *chosen, *overrides)
    settings["strategy"] |= {"batch_size": 16}
    for phase in settings["strategy"]["phases"].values():
        phase |= {"epochs": 2, "min_steps": 0}
    return settings
