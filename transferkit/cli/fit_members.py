"""ensemble=N: fits with seeds `seed`, `seed` + 1, ... on one split, each in a run directory of its own, joined."""

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from transferkit.backbones.backbone import Backbone
from transferkit.cli.fuse import evaluate_members
from transferkit.cli.joined import Join, show, write_mean
from transferkit.data.imagedata import ImageData
from transferkit.files import write_json
from transferkit.report.run_files import artifact_notes, write_splits
from transferkit.rundir import STATUS_FILE, Status, read_status, write_status
from transferkit.timing import StepTimer
from transferkit.training.run_phase import check_recipe
from transferkit.untrusted import read_json

log = logging.getLogger(__name__)

WITHOUT_EFFECT = (
    "ensemble",
    "overrides",
    "choices",
    "cache",
    "logger",
    "report",
    "protocol",
    "runs",
    "run",
    "images",
    "task",
)
"""Settings that may differ when an interrupted ensemble is resumed; with a larger `ensemble` it grows."""

FitOne = Callable[[Mapping[str, Any], Path, ImageData, Backbone, StepTimer, int | None], None]


def fit_members(
    settings: Mapping[str, Any], run_dir: Path, data: ImageData, backbone: Backbone, fit_one: FitOne
) -> None:
    """Fit the members that are not done yet, and join all: the mean of their probabilities.

    Args:
        settings: The resolved configuration.
        run_dir: Gets `members/1`, ..., and the files of the ensemble.
        data: The splits, the same for all members.
        backbone: With the weights to start from.
        fit_one: Fits, evaluates and reports one model.

    Raises:
        TransferkitError: The run directory holds members of other settings.
    """
    timer = StepTimer()
    check_recipe(run_dir / "members", {key: value for key, value in settings.items() if key not in WITHOUT_EFFECT})
    seeds = range(settings["seed"], settings["seed"] + settings["ensemble"])
    folders = [run_dir / "members" / str(place + 1) for place in range(len(seeds))]
    for folder, seed in zip(folders, seeds, strict=True):
        if is_done(folder):
            log.info("Member %s, seed %d, is fitted already.", folder.name, seed)
            continue
        log.info("Member %s of %d, seed %d:", folder.name, len(seeds), seed)
        folder.mkdir(parents=True, exist_ok=True)
        write_status(folder, Status.RUNNING)
        write_splits(folder, data)
        torch.manual_seed(seed)
        member = {**settings, "strategy": single(settings["strategy"]), "seed": seed, "ensemble": 1}
        with timer.step("fit"):
            fit_one(member, folder, data, copy.deepcopy(backbone), StepTimer(), settings["seed"])
        write_status(folder, Status.DONE)
    with timer.step("evaluate"):
        tested = evaluate_members(settings, folders, data)
        members = [replace(member, name=f"seed {seed}") for member, seed in zip(tested, seeds, strict=True)]
    notes = artifact_notes(settings)
    joined = write_mean(Join(settings, run_dir, data, members, notes), folders)
    metrics = {**figures_of(folders), "seed": settings["seed"], **joined, "seconds": timer.seconds()}
    write_json(run_dir / "metrics.json", metrics)
    show(metrics, run_dir)


def single(strategy: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a strategy that fits one model: a member is no ensemble itself."""
    return {**strategy, "auto": {**strategy["auto"], "average": False}} if "auto" in strategy else strategy


def is_done(folder: Path) -> bool:
    """Return whether a member is fitted."""
    return (folder / STATUS_FILE).exists() and read_status(folder).get("status") == Status.DONE


def figures_of(folders: Sequence[Path]) -> dict[str, Any]:
    """Return the entries of metrics.json that an ensemble has from its members; `val` is the mean of theirs."""
    each = [read_json(folder / "metrics.json") for folder in folders]
    same: dict[str, Any] = {key: each[0][key] for key in ("strategy", "precision", "selection") if key in each[0]}
    vals = [metrics["val"] for metrics in each]
    return {
        **same,
        "val": {**{key: _mean([val[key] for val in vals]) for key in vals[0]}, "n": vals[0]["n"]},
        "trainable_parameters": sum(metrics["trainable_parameters"] for metrics in each),
    }


def _mean(values: Sequence[Any]) -> Any:
    """The mean of numbers, or of the numbers of tables by name; None where one is undefined."""
    if isinstance(values[0], Mapping):
        return {key: _mean([value[key] for value in values]) for key in values[0]}
    return None if None in values else float(np.mean(values))
