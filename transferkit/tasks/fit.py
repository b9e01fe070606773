"""task=fit: configuration, data, backbone, strategy, evaluation, run directory; one straight path."""

import logging
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from transferkit.backbones.backbone import Backbone
from transferkit.data.imagedata import ImageData
from transferkit.errors import TransferkitError
from transferkit.evaluate.protocols import get_protocol
from transferkit.extraction import Extract, make_extractor
from transferkit.metrics import compute_metrics
from transferkit.model import save_model
from transferkit.report.page import write_report
from transferkit.result import RunResult
from transferkit.results import absolute_paths, summary, write_predictions
from transferkit.rundir import write_json
from transferkit.strategies.fitted import Fitted
from transferkit.strategies.linear_probe import fit_linear_probe
from transferkit.tasks.prepare import describe, prepare
from transferkit.timing import StepTimer

log = logging.getLogger(__name__)


def main(settings: Mapping[str, Any], run_dir: Path) -> None:
    """Fit, evaluate and report.

    Args:
        settings: The resolved configuration.
        run_dir: Where every file of the run goes.
    """
    timer = StepTimer()
    data, backbone = prepare(settings, run_dir, timer)
    protocol, extract = get_protocol(settings["protocol"]["name"]), make_extractor(settings)
    fitted = fit(backbone, data, settings, extract, timer)
    with timer.step("evaluate"):
        probabilities = protocol(fitted.model, data.test, extract)
        scores = {
            "test": compute_metrics(probabilities, data.test.labels),
            "val": compute_metrics(fitted.val, data.val.labels),
        }
    metrics = {
        **scores,
        "strategy": settings["strategy"]["name"],
        **describe(settings, data, backbone, fitted.model),
        "trainable_parameters": fitted.trainable_parameters,
        "stages": {stage: dict(figures) for stage, figures in fitted.stages.items()},
        "seconds": timer.seconds(),
    }
    result = RunResult(
        settings=settings,
        command=shlex.join(["python", "-m", "transferkit", *sys.argv[1:]]),
        metrics=metrics,
        class_names=data.class_names,
        test=data.test,
        probabilities=probabilities,
        split_note=data.split_note,
        class_counts={
            name: np.bincount(images.labels, minlength=len(data.class_names)) for name, images in data.splits.items()
        },
        sweep=fitted.sweep,
    )
    notes = {"dataset": absolute_paths(settings["dataset"]), "strategy": settings["strategy"], "seed": settings["seed"]}
    save_model(run_dir, fitted.model, **notes)
    write_predictions(run_dir / "predictions.csv", data.test.names, data.test.labels, probabilities, data.class_names)
    write_report(run_dir / "report.html", result)
    write_json(run_dir / "metrics.json", {**metrics, "seconds": timer.seconds()})
    log.info("%s", summary(metrics, run_dir))


def fit(backbone: Backbone, data: ImageData, settings: Mapping[str, Any], extract: Extract, timer: StepTimer) -> Fitted:
    """Run the strategy that the configuration names."""
    strategy = settings["strategy"]
    if "probe" not in strategy:
        raise TransferkitError(f"strategy={strategy['name']} has no `probe`: see conf/strategy/linear_probe.yaml.")
    return fit_linear_probe(backbone, data, strategy["probe"], extract, timer, settings["seed"])
