"""task=fit: configuration, data, backbone, strategy, evaluation, run directory; one straight path."""

import logging
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from transferkit.backbones.backbone import Backbone
from transferkit.backbones.create import create_backbone_from_config
from transferkit.data.create import load_data
from transferkit.data.imagedata import ImageData
from transferkit.errors import TransferkitError
from transferkit.extraction import make_extractor
from transferkit.metrics import compute_metrics
from transferkit.model import save_model
from transferkit.report.page import write_report
from transferkit.result import RunResult
from transferkit.results import absolute_paths, summary, write_predictions, write_splits
from transferkit.rundir import write_json
from transferkit.strategies.fitted import Fitted
from transferkit.strategies.linear_probe import fit_linear_probe
from transferkit.timing import StepTimer

log = logging.getLogger(__name__)


def main(settings: Mapping[str, Any], run_dir: Path) -> None:
    """Fit, evaluate and report.

    Args:
        settings: The resolved configuration.
        run_dir: Where every file of the run goes.
    """
    timer = StepTimer()
    torch.manual_seed(settings["seed"])
    with timer.step("data"):
        data = load_data(settings["dataset"], settings["seed"])
        write_splits(run_dir, data)
    log.info("Data: %s, %d classes. %s", data.name, len(data.class_names), data.split_note)
    backbone = create_backbone_from_config(settings["backbone"])
    log.info("Backbone: %s, weights %s.", backbone.spec.name, backbone.weights_name)
    fitted = fit(backbone, data, settings, timer)
    with timer.step("evaluate"):
        scores = {
            "test": compute_metrics(fitted.test, data.test.labels),
            "val": compute_metrics(fitted.val, data.val.labels),
        }
    metrics = {**scores, **describe(backbone, data, settings, fitted), "seconds": timer.seconds()}
    result = RunResult(
        settings=settings,
        command=shlex.join(["python", "-m", "transferkit", *sys.argv[1:]]),
        metrics=metrics,
        class_names=data.class_names,
        test=data.test,
        probabilities=fitted.test,
        split_note=data.split_note,
        class_counts={
            name: np.bincount(images.labels, minlength=len(data.class_names)) for name, images in data.splits.items()
        },
        sweep=fitted.sweep,
    )
    notes = {"dataset": absolute_paths(settings["dataset"]), "strategy": settings["strategy"], "seed": settings["seed"]}
    save_model(run_dir, fitted.model, **notes)
    write_predictions(run_dir / "predictions.csv", data.test.names, data.test.labels, fitted.test, data.class_names)
    write_report(run_dir / "report.html", result)
    write_json(run_dir / "metrics.json", {**metrics, "seconds": timer.seconds()})
    log.info("%s", summary(metrics, run_dir))


def fit(backbone: Backbone, data: ImageData, settings: Mapping[str, Any], timer: StepTimer) -> Fitted:
    """Run the strategy that the configuration names."""
    strategy = settings["strategy"]
    if "probe" not in strategy:
        raise TransferkitError(f"strategy={strategy['name']} has no `probe`: see conf/strategy/linear_probe.yaml.")
    return fit_linear_probe(backbone, data, strategy["probe"], make_extractor(settings), timer, settings["seed"])


def describe(backbone: Backbone, data: ImageData, settings: Mapping[str, Any], fitted: Fitted) -> dict[str, Any]:
    """Return what metrics.json says beside the scores."""
    return {
        "strategy": settings["strategy"]["name"],
        "backbone": backbone.spec.name,
        "weights": backbone.weights_name,
        "dataset": data.name,
        "protocol": settings["protocol"]["name"],
        "seed": settings["seed"],
        "num_classes": len(data.class_names),
        "trainable_parameters": fitted.trainable_parameters,
        "total_parameters": sum(p.numel() for p in fitted.model.parameters()),
        "stages": {stage: dict(figures) for stage, figures in fitted.stages.items()},
    }
