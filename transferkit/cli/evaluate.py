"""task=evaluate: the metrics of a fitted model on a test split, its own or another one, by one or several protocols."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transferkit.data.imagedata import ImageData
from transferkit.data.load_data import load_data
from transferkit.ensemble_artifact import read_notes
from transferkit.errors import TransferkitError
from transferkit.features.from_settings import make_extractor
from transferkit.files import write_json
from transferkit.models.ensemble import EnsembleModel, load_model, run_all_protocols
from transferkit.models.transfer_model import TransferModel
from transferkit.report.command_text import command_line, kept_arguments
from transferkit.report.parts_by_target import main_words, score_lines
from transferkit.report.protocol_table import metrics_of, protocol_rows, protocol_table, write_protocols
from transferkit.report.run_files import shown_path
from transferkit.report.run_result import RunResult
from transferkit.report.target_page import write_outputs, write_page
from transferkit.targets.target import LabelRows, Target
from transferkit.timing import StepTimer

log = logging.getLogger(__name__)


def main(settings: Mapping[str, Any], run_dir: Path) -> None:
    """Evaluate the model of `run=`: metrics.json, protocols.csv; of the first protocol predictions.csv, report.html."""
    timer = StepTimer()
    fitted_run = required_run(settings)
    model = load_model(fitted_run)
    with timer.step("data"):
        data = data_to_evaluate(settings, read_notes(fitted_run))
        labels = labels_of_model(data, model.target)
    with timer.step("evaluate"):
        tested = run_all_protocols(settings, model, data.test, make_extractor(settings))
    rows = protocol_rows(tested, labels, model.target)
    first, outputs = next((name, result.probabilities) for name, result in tested.items())
    write_protocols(run_dir, rows)
    write_outputs(run_dir / "predictions.csv", data.test.names, labels, outputs, model.target)
    metrics = {
        "test": metrics_of(rows[first]),
        "run": str(fitted_run.resolve()),
        "dataset": data.name,
        "protocol": first,
        "protocols": rows,
        "num_classes": len(model.class_names),
        "data": data.facts(),
        "seconds": timer.seconds(),
    }
    write_json(run_dir / "metrics.json", metrics)
    result = RunResult(
        settings=settings,
        command=command_line(),
        metrics={**metrics, **_about(fitted_run, model)},
        class_names=model.class_names,
        test=data.test.relabel(labels),
        probabilities=outputs,
        split_note=data.split_note,
        class_counts={"test": model.target.counts(labels)},
        arguments=kept_arguments("task=", "task.", "run=", "hydra.", "-"),
        run=str(shown_path(fitted_run.resolve())),
        other_target=model.target,
        sizes={"test": len(data.test)},
    )
    write_page(run_dir / "report.html", result)
    figures, *more = score_lines(metrics_of(rows[first]), model.target.kind)
    lines = [
        f"\n{data.name}, with the model of {shown_path(fitted_run)}",
        f"{figures}, protocol {first}",
        *more,
        *([protocol_table(rows, model.target.kind)] if len(rows) > 1 else []),
        f"  predictions         {shown_path(run_dir) / 'predictions.csv'}",
        f"  report              {shown_path(run_dir) / 'report.html'}",
    ]
    log.info("%s", "\n".join(lines), extra={"result": main_words(model.target.kind)})


def _about(fitted_run: Path, model: TransferModel | EnsembleModel) -> dict[str, Any]:
    """Return what the report says of the model, as in the metrics.json of its fit."""
    return {"model": str(shown_path(fitted_run.resolve())), **networks_of(model)}


def networks_of(model: TransferModel | EnsembleModel) -> dict[str, str]:
    """Return the names of the networks and of their weights."""
    backbones = [one.backbone for one in ([model] if isinstance(model, TransferModel) else model.models)]
    return {
        "backbone": "+".join(dict.fromkeys(backbone.spec.name for backbone in backbones)),
        "weights": "+".join(dict.fromkeys(backbone.weights_name for backbone in backbones)),
    }


def required_run(settings: Mapping[str, Any]) -> Path:
    """Return the run directory of `run=`."""
    if not settings["run"]:
        raise TransferkitError(
            f"task={settings['task']['name']} needs run=RUN_DIR, the run directory of a finished fit."
        )
    return Path(settings["run"]).expanduser()


def data_to_evaluate(settings: Mapping[str, Any], metadata: Mapping[str, Any]) -> ImageData:
    """Return the data set named on the command line, by default the one of the fit, with the same splits."""
    if "dataset" in settings["choices"]:
        return load_data(settings["dataset"], settings["seed"])
    if not isinstance(metadata.get("dataset"), dict) or type(metadata.get("seed")) is not int:
        raise TransferkitError("The artifact does not name the data set of the fit: name one with dataset=....")
    return load_data(metadata["dataset"], metadata["seed"])


def labels_of_model(data: ImageData, target: Target, split: str = "test") -> LabelRows:
    """Return the labels of the images of a split as those of the model's target.

    Raises:
        TransferkitError: The data is of another kind, or has a name that is not one of the model's.
    """
    return target.translated(data.target, data.splits[split].labels, data.name)
