"""Fits as the command line makes them, within one process."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from transferkit.backbones.create import create_backbone_from_config
from transferkit.config.compose import load_strategy_settings
from transferkit.data.load_data import load_data
from transferkit.features.from_settings import make_extractor
from transferkit.files import write_json
from transferkit.metrics import compute_metrics
from transferkit.models.ensemble import mean_of
from transferkit.models.protocols import center_probabilities
from transferkit.models.transfer_model import save_model
from transferkit.strategies.context import Context, find_plan
from transferkit.strategies.fitted import Fitted
from transferkit.strategies.registry import fit_strategy
from transferkit.timing import StepTimer
from transferkit.untrusted import read_json


def open_case(strategy: str, overrides: Sequence[str], folder: Path) -> Context:
    """Load the data and the network of a configuration.

    Args:
        strategy: Its name.
        overrides: As on the command line, `seed` among them.
        folder: The run directory.
    """
    settings = load_strategy_settings(strategy, list(overrides))
    seed = int(settings["seed"])
    data = load_data(settings["dataset"], seed)
    torch.manual_seed(seed)
    backbone = create_backbone_from_config(settings["backbone"])
    return Context(backbone, data, settings, make_extractor(settings), StepTimer(), folder, find_plan(settings))


def tested(context: Context, fitted: Fitted) -> dict[str, Any]:
    """The metrics of a fitted model on test."""
    test, models = context.data.test, {fitted.model: 1.0}
    if fitted.members:
        models = {member.fitted.model: member.share for member in fitted.members}
    each = [center_probabilities(model, test, context.extract) for model in models]
    return dict(compute_metrics(mean_of(each, np.array(list(models.values()))), test.labels))


def fit_once(context: Context, seed: int | None = None) -> tuple[Path, float]:
    """Fit a case, or find it fitted.

    Args:
        context: Its run directory gets the artifact.
        seed: Of the fit, where it is another than that of the splits.

    Returns:
        The folder of the artifact, and the seconds of the fit.
    """
    folder, done = context.run_dir, context.run_dir / "seconds.json"
    if not done.exists():
        start = time.perf_counter()
        if seed is not None:
            context = replace(context, settings={**context.settings, "seed": seed})
            torch.manual_seed(seed)
        fitted = fit_strategy(context)
        seconds = time.perf_counter() - start
        save_model(folder, fitted.model, strategy=context.strategy, seed=context.seed)
        write_json(done, {"seconds": seconds})
    return folder, float(read_json(done)["seconds"])
