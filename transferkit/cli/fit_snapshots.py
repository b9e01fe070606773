"""ensemble=snapshots on the command line: one training, its snapshots as members, and their mean."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from transferkit.backbones.backbone import Backbone
from transferkit.cli.fuse import evaluate_members
from transferkit.cli.joined import Join, show, write_mean
from transferkit.data.imagedata import ImageData
from transferkit.device import run_place
from transferkit.features.from_settings import make_extractor
from transferkit.files import write_json
from transferkit.models.transfer_model import save_model
from transferkit.report.run_files import artifact_notes, write_history
from transferkit.strategies.context import Context
from transferkit.strategies.snapshots import fit_snapshots
from transferkit.timing import StepTimer
from transferkit.training.plan import Plan
from transferkit.training.run_logger import run_logger


def fit_and_join(
    plan: Plan | None, settings: Mapping[str, Any], run_dir: Path, data: ImageData, backbone: Backbone
) -> None:
    """Train once, and join the snapshots.

    Args:
        plan: Of the strategy.
        settings: The resolved configuration.
        run_dir: Gets `members/1`, ..., and the files of the ensemble.
        data: The splits.
        backbone: With the weights to start from.
    """
    timer = StepTimer()
    selection = {"by": "last", "images": len(data.val)}
    notes = artifact_notes(settings)
    with run_logger(settings, run_dir) as logger:
        context = Context(backbone, data, settings, make_extractor(settings), timer, run_dir, plan, logger)
        phases, models = fit_snapshots(context)
        folders = []
        for number, model in enumerate(models, start=1):
            folders.append(run_dir / "members" / str(number))
            save_model(folders[-1], model, **notes)
            write_json(folders[-1] / "metrics.json", {"selection": selection})  # val was not fitted
    with timer.step("evaluate"):
        tested = evaluate_members(settings, folders, data)
        members = [replace(member, name=f"cycle {number}") for number, member in enumerate(tested, start=1)]
    joined = write_mean(Join(settings, run_dir, data, members, notes), folders)
    write_history(run_dir, settings, phases.history)
    metrics = {
        **{"strategy": settings["strategy"]["name"], "precision": run_place(settings)[1], "selection": selection},
        "trainable_parameters": max(figures["trainable_parameters"] for figures in phases.figures.values()),
        **{"seed": settings["seed"], "phases": phases.figures, **joined, "seconds": timer.seconds()},
    }
    write_json(run_dir / "metrics.json", metrics)
    show(metrics, run_dir)
