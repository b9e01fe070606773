"""task=pretrain: train a backbone on a source data set, to provide pretrained weights."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from transferkit.cli.prepare import describe, prepare
from transferkit.features.from_settings import make_extractor
from transferkit.files import write_json
from transferkit.metrics import compute_metrics
from transferkit.models.protocols import center_probabilities, run_protocols
from transferkit.models.transfer_model import save_model
from transferkit.report.run_files import absolute_paths, write_history, write_predictions
from transferkit.strategies.context import Context
from transferkit.strategies.pretraining import pretrain
from transferkit.timing import StepTimer
from transferkit.training.optimizers import check_timms_name
from transferkit.training.run_logger import RunLogger, run_logger

log = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "float16": torch.float16}


def main(settings: Mapping[str, Any], run_dir: Path) -> None:
    """Pretrain, evaluate on the source's test split, and write the artifact."""
    with run_logger(settings, run_dir) as logger:
        _pretrain(settings, run_dir, logger)


def _pretrain(settings: Mapping[str, Any], run_dir: Path, logger: RunLogger | None) -> None:
    task, timer = settings["task"], StepTimer()
    check_timms_name(settings["optimizer"])
    data, backbone = prepare(settings, run_dir, timer)
    extract = make_extractor(settings)
    with timer.step("fit"):
        trained = pretrain(Context(backbone, data, settings, extract, timer, run_dir, logger=logger))
    with timer.step("evaluate"):
        tested = next(iter(run_protocols(settings, trained.model, data.test, extract).values()))
        probabilities = {"val": center_probabilities(trained.model, data.val, extract), "test": tested.probabilities}
    metrics = {
        **{name: compute_metrics(values, data.splits[name].labels) for name, values in probabilities.items()},
        **describe(settings, data, backbone, trained.model),
        "best_epoch": trained.best_epoch,
        "trainable_parameters": sum(p.numel() for p in trained.model.parameters()),
    }
    write_history(run_dir, settings, [{"phase": "pretrain", **row} for row in trained.history])
    write_predictions(
        run_dir / "predictions.csv", data.test.names, data.test.labels, probabilities["test"], data.class_names
    )
    save_model(
        run_dir,
        trained.model,
        dtype=DTYPES[task["dtype"]],
        dataset=absolute_paths(settings["dataset"]),
        seed=settings["seed"],
        task=task,
    )
    metrics["seconds"] = timer.seconds()
    write_json(run_dir / "metrics.json", metrics)
    if logger:
        logger.log_result(settings, metrics)
    log.info(
        "Best epoch %d: test top-1 %.2f %% on the source data.\nUse with the same backbone: backbone.weights=%s",
        trained.best_epoch,
        100 * metrics["test"]["top1"],
        run_dir,
    )
