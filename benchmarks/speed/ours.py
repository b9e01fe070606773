"""transferkit's work, called as its command line calls it."""

import logging
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from benchmarks.speed.clock import Moment, now
from benchmarks.speed.networks import Net
from benchmarks.speed.options import Options
from transferkit.backbones.create import create_backbone_from_config
from transferkit.config.compose import load_strategy_settings
from transferkit.data.imagedata import ImageData
from transferkit.data.load_data import load_data
from transferkit.data.preprocess import Preprocessing
from transferkit.features.from_settings import make_extractor
from transferkit.metrics import compute_metrics
from transferkit.models.protocols import center_probabilities
from transferkit.strategies.context import Context, find_plan
from transferkit.strategies.fitted import Fitted
from transferkit.strategies.registry import fit_strategy
from transferkit.timing import StepTimer

ONE_FIT = ("augment=none", "selection=val")
"""Epochs are timed with the same images in each, as the other tools have them, and without a fit for each fold."""


def settings_of(strategy: str, net: Net, root: Path, options: Options, *overrides: str) -> dict[str, Any]:
    """The configuration for a folder of images; without a cache unless `overrides` say otherwise."""
    where = (f'dataset.root="{root}"', f"trainer.device={options.device}", "cache.enabled=false")
    return load_strategy_settings(strategy, ["dataset=folder", *where, *net.overrides, *ONE_FIT, *overrides])


def preprocessing(net: Net, options: Options) -> Preprocessing:
    """How the weights want images."""
    return create_backbone_from_config(settings_of("linear_probe", net, Path("."), options)["backbone"]).preprocess


def cached_in(folder: Path) -> list[str]:
    """Overrides that switch the cache on."""
    return ["cache.enabled=true", f'cache.dir="{folder}"']


@dataclass(frozen=True)
class Fit:
    """One fit.

    Attributes:
        data: What was fitted to.
        fitted: What came of it.
        top1: On test; None where that was not asked for.
        seconds: Of everything from finding the images on, and of the steps `data`, `extract` and `fit`.
    """

    data: ImageData
    fitted: Fitted
    top1: float | None
    seconds: dict[str, float]


def fit(settings: dict[str, Any], test: bool = True) -> Fit:
    """From image files to a fitted model and its test accuracy; making the network does not count."""
    torch.manual_seed(settings["seed"])
    network = create_backbone_from_config(settings["backbone"])
    timer = StepTimer()
    with tempfile.TemporaryDirectory() as folder:
        with timer.step("data"):
            data = load_data(settings["dataset"], settings["seed"])
        extract = make_extractor(settings)
        context = Context(network, data, settings, extract, timer, Path(folder), find_plan(settings))
        fitted = fit_strategy(context)
        top1 = None
        if test:
            top1 = compute_metrics(center_probabilities(fitted.model, data.test, extract), data.test.labels)["top1"]
        return Fit(data, fitted, top1, timer.seconds())


class EpochClock(logging.Handler):
    """When the phases of a finetuning began and its epochs ended, from what transferkit logs."""

    def __init__(self) -> None:
        super().__init__()
        self.phases: list[list[Moment]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Take the time of a line."""
        message = record.getMessage()
        if message.startswith("Phase ") and " epochs of " in message:
            self.phases.append([now()])
        if message.startswith("Epoch ") and "val top-1" in message:
            self.phases[-1].append(now())


@contextmanager
def epoch_clock() -> Iterator[EpochClock]:
    """Listen to transferkit's log."""
    clock, logger = EpochClock(), logging.getLogger("transferkit")
    level, propagate = logger.level, logger.propagate
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(clock)
    try:
        yield clock
    finally:
        logger.removeHandler(clock)
        logger.setLevel(level)
        logger.propagate = propagate


@dataclass(frozen=True)
class Epochs:
    """How long the epochs of the last phase took.

    Attributes:
        first: Seconds until the end of the first, from the beginning of the fit: with what was computed before it.
        later: Seconds of each of the others.
        busy: The same in CPU seconds, which other load on the machine hardly changes.
    """

    first: float
    later: list[float]
    busy: list[float]


def fit_epochs(settings: dict[str, Any]) -> Epochs:
    """Fit, and say how long the epochs took."""
    with epoch_clock() as clock:
        start = time.perf_counter()
        fit(settings, test=False)
    ends, busy = ([moment[i] for moment in clock.phases[-1]] for i in (0, 1))
    if len(ends) < 3:
        raise RuntimeError("transferkit's log did not show two epochs: its wording may have changed (EpochClock)")
    return Epochs(ends[1] - start, *([b - a for a, b in pairwise(times[1:])] for times in (ends, busy)))


def extract(net: Net, dataset: Any, options: Options, **trainer: Any) -> Any:
    """Top features of a data set of tensors, without a cache, as the command line's settings have it."""
    settings = settings_of("linear_probe", net, Path("."), options)
    settings["trainer"] |= trainer
    network = create_backbone_from_config(settings["backbone"])
    return make_extractor(settings)(network, dataset, [network.top])


def empty(folder: Path) -> Path:
    """The folder, without what was in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
