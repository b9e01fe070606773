"""The tables of a run directory, and the summary of a run for the screen."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transferkit.data.imagedata import ImageData
from transferkit.data.split_table import HEADER, needs_exact
from transferkit.files import write_csv
from transferkit.report.command_text import predict_command
from transferkit.report.facts import NOT_FINETUNED, cross_validated
from transferkit.report.parts_by_target import figure_lines, shown_main
from transferkit.report.probability_table import class_columns, write_probabilities
from transferkit.report.protocol_table import protocol_table
from transferkit.report.top5 import join_names
from transferkit.targets.target import Target
from transferkit.targets.target_kinds import make_target

NAMES_SHOWN = 5
COLUMNS = ("image", "label", "predicted", "confidence", "top5")
CLASSES_IN_CSV = 20
"""Up to this many classes predictions.csv has a column for each, which for 1,000 classes would be most of the file."""


def write_predictions(
    path: Path,
    names: Sequence[str],
    labels: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float32],
    class_names: Sequence[str],
) -> None:
    """Write one row per image: path or index, true label, predicted label, confidence, the five most likely classes.

    Up to `CLASSES_IN_CSV` classes, and in a Parquet file beside it (where pyarrow is installed) for any number, the
    probability of each class follows.

    Args:
        path: The CSV file.
        names: Path or index of N images.
        labels: (N,).
        probabilities: (N, K).
        class_names: K names, most likely first in the column `top5`, which is read by `report.top5.split_names`.
    """
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :NAMES_SHOWN]
    all_of_them = len(class_names) <= CLASSES_IN_CSV
    columns = class_columns(class_names, COLUMNS) if all_of_them else []
    rows = (
        [
            name,
            class_names[label],
            class_names[best[0]],
            f"{row[best[0]]:.6f}",
            join_names(class_names[index] for index in best),
            *((f"{p:.6f}" for p in row) if all_of_them else ()),
        ]
        for name, label, best, row in zip(names, labels, order, probabilities, strict=True)
    )
    write_csv(path, [*COLUMNS, *columns], rows)
    true = [class_names[label] for label in labels]
    if not write_probabilities(path.with_suffix(".parquet"), names, true, probabilities, class_names):
        path.with_suffix(".parquet").unlink(missing_ok=True)  # of an earlier job in this folder


def write_splits(run_dir: Path, data: ImageData) -> None:
    """Write `split.csv`, which `dataset=csv` can read, and `skipped.csv` if images were skipped."""
    rows = data.rows()
    write_csv(run_dir / "split.csv", HEADER, rows, quoted=needs_exact(rows))
    if data.skipped:
        write_csv(run_dir / "skipped.csv", ["path", "reason"], data.skipped)


def write_history(run_dir: Path, settings: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> None:
    """Write `history.csv`, a row an epoch of training, unless `logger=none`; nothing where nothing was trained.

    Phases train different stages, so a rate `lr_STAGE` may be empty.
    """
    if history and settings["logger"]["name"] != "none":
        header = list(dict.fromkeys(key for row in history for key in row))
        write_csv(run_dir / "history.csv", header, ([row.get(key, "") for key in header] for row in history))


def absolute_paths(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `dataset` settings with `root`, `file` and `exclude` absolute, so that they hold in any directory."""
    paths = {
        key: os.path.abspath(os.path.expanduser(dataset[key]))
        for key in ("root", "file", "exclude")
        if dataset.get(key)
    }
    return {**dataset, **paths}


def artifact_notes(settings: Mapping[str, Any], split_seed: int | None = None) -> dict[str, Any]:
    """Return the entries of an artifact about its fit: `dataset`, `strategy` and seeds.

    Args:
        settings: The resolved configuration.
        split_seed: The seed of the splits, where it is another than that of the fit.
    """
    seed = settings["seed"]
    seeds = {"seed": seed} if split_seed is None else {"seed": split_seed, "fit_seed": seed}
    return {"dataset": absolute_paths(settings["dataset"]), "strategy": settings["strategy"], **seeds}


def _stage_table(stages: Mapping[str, Mapping[str, Any]], chosen: str, target: Target) -> list[str]:
    """Return one line per stage with its main figure on val (top-1 accuracy), if several were tried."""
    main = f"val_{target.main}"
    tried = {stage: figures[main] for stage, figures in stages.items() if main in figures}
    if len(tried) < 2:
        return []
    return [
        f"    {stage:20}{shown_main(value, target.kind)}" + ("   selected" if stage == chosen else "")
        for stage, value in tried.items()
    ]


def _judged_line(metrics: Mapping[str, Any]) -> str:
    """Return the line with the accuracy on the images that chose."""
    top1, n = f"{100 * metrics['val']['top1']:6.2f} %", metrics["val"]["n"]
    if cross_validated(metrics):
        return f"  out-of-fold top-1   {top1}   on {n} images: cross-validation of train and val chose"
    return f"  val top-1           {top1}   on {n} images"


def _calibration_line(metrics: Mapping[str, Any]) -> list[str]:
    """Return the line on the temperature and the calibration error on test, if the model was calibrated."""
    found = metrics.get("calibration")
    if not found or "test" not in found:
        return []
    before, after = (f"{100 * found['test'][name]['ece']:.1f} %" for name in ("before", "after"))
    return [f"  calibration         temperature {found['temperature']:.2f}: ECE on test {after} (without {before})"]


def _target(metrics: Mapping[str, Any]) -> Target:
    """The target of the model."""
    described = dict(metrics.get("target", {"kind": "class"}))
    return make_target(described.pop("names", [""] * metrics["num_classes"]), described)


def _figure_lines(metrics: Mapping[str, Any]) -> list[str]:
    """The figures on test, and those on the images that chose."""
    if "target" in metrics:
        return figure_lines(metrics, metrics["target"]["kind"])
    test = metrics["test"]
    return [
        f"  test top-1          {100 * test['top1']:6.2f} %   on {test['n']} held-out images",
        f"  balanced accuracy   {100 * test['balanced_accuracy']:6.2f} %",
        _judged_line(metrics),
        *_calibration_line(metrics),
    ]


def shown_path(run_dir: Path) -> Path:
    """Return `run_dir` relative to the current folder if it lies below it."""
    return run_dir.relative_to(Path.cwd()) if run_dir.is_relative_to(Path.cwd()) else run_dir


def summary(metrics: Mapping[str, Any], run_dir: Path) -> str:
    """Return the summary of a run for the screen: accuracy, time, and where the report is."""
    seconds, target = metrics["seconds"], _target(metrics)
    strategy = ": ".join(metrics[key] for key in ("strategy", "chosen") if metrics.get(key))
    stage = metrics.get("stage") or ", ".join(metrics["stages"]) or "all"
    shown = shown_path(run_dir)
    lines = [
        "",
        f"{strategy} on {metrics['dataset']} ({target.words()}), "
        f"{metrics['backbone']} ({metrics['weights']}), stage {stage}",
        *_figure_lines(metrics),
        *([f"  training            {NOT_FINETUNED}"] if metrics.get("finetuned") is False else []),
        *_stage_table(metrics["stages"], stage, target),
        *([protocol_table(metrics["protocols"], target.kind)] if "protocols" in metrics else []),
        f"  time                {seconds['total']:.1f} s: "
        + ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items() if name != "total"),
        f"  report              {shown / 'report.html'}",
        f"  predict             {predict_command(shown)}",
    ]
    return "\n".join(lines)
