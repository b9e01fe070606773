"""task=fit, the whole story of a run: settings, data, backbone, features, strategy, evaluation, run directory."""

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from transferkit.arrays import Labels, Probabilities
from transferkit.backbones.backbone import Backbone
from transferkit.cli.extract_share import extract_share
from transferkit.cli.prepare import compared_networks, describe, prepare
from transferkit.config.ensemble_use import SNAPSHOTS, several
from transferkit.data.imagedata import ImageData
from transferkit.features.from_settings import make_extractor
from transferkit.features.reuse import count_reuse
from transferkit.files import write_json
from transferkit.models.protocols import run_protocols
from transferkit.models.transfer_model import TransferModel, save_model
from transferkit.report.command_text import command_line, kept_arguments
from transferkit.report.examples import worst_mistakes
from transferkit.report.heat_maps import heat_map_method, heat_maps, why_none
from transferkit.report.image_map import find_places, import_umap
from transferkit.report.imagenet_names import find_imagenet_names
from transferkit.report.nearest import find_neighborhoods
from transferkit.report.parts_by_target import main_words
from transferkit.report.protocol_table import metrics_of, protocol_rows, write_protocols
from transferkit.report.run_files import artifact_notes, shown_path, summary, write_history
from transferkit.report.run_result import RunResult
from transferkit.report.target_page import write_outputs, write_page
from transferkit.strategies.calibrate import KEY, with_test
from transferkit.strategies.context import Context
from transferkit.strategies.fitted import Fitted
from transferkit.strategies.held_out import add_held_out_parts, compared_images
from transferkit.strategies.registry import check_strategy, fit_strategy
from transferkit.timing import StepTimer
from transferkit.training.plan import Plan
from transferkit.training.run_logger import run_logger

log = logging.getLogger(__name__)

MISTAKES_EXPLAINED = 8
"""Of the most confident mistakes, so many have a heat map."""


def main(settings: Mapping[str, Any], run_dir: Path) -> None:
    """Fit, evaluate and report; or, with `extract.shard`, only compute a share of the features.

    Args:
        settings: The resolved configuration.
        run_dir: Gets every file of the run.
    """
    if settings["report"]["map"] == "umap":
        import_umap()  # before any work
    timer, plan = StepTimer(), check_strategy(settings)
    fit = partial(fit_one, plan)
    data, backbone = prepare(settings, run_dir, timer)
    if settings["extract"]["shard"]:
        extract_share(settings, data, backbone)
    elif settings["ensemble"] == SNAPSHOTS:
        from transferkit.cli.fit_snapshots import fit_and_join

        fit_and_join(plan, settings, run_dir, data, backbone)
    elif several(settings):
        from transferkit.cli.fit_members import fit_members  # with Lightning, which most fits do without

        fit_members(settings, run_dir, data, backbone, fit)
    else:
        fit(settings, run_dir, data, backbone, timer)


def fit_one(
    plan: Plan | None,
    settings: Mapping[str, Any],
    run_dir: Path,
    data: ImageData,
    backbone: Backbone,
    timer: StepTimer,
    split_seed: int | None = None,
) -> None:
    """Fit, evaluate and report.

    Args:
        plan: Of a strategy with phases.
        settings: The resolved configuration.
        run_dir: Gets every file of the run.
        data: The splits.
        backbone: With the weights to start from.
        timer: Has counted the time so far.
        split_seed: The seed of the splits, where it is another than that of the fit.
    """
    with run_logger(settings, run_dir) as logger:
        context = Context(backbone, data, settings, make_extractor(settings), timer, run_dir, plan, logger)
        _fit(context, split_seed)


def _fit(context: Context, split_seed: int | None) -> None:
    reuse, timer, run_dir = count_reuse(), context.timer, context.run_dir
    settings, data, backbone, extract = context.settings, context.data, context.backbone, context.extract
    fitted = fit_strategy(context)
    if fitted.members:
        from transferkit.cli.fit_average import write_average  # with Lightning, which most fits do without

        write_average(context, fitted, split_seed)
        return
    fitted = add_held_out_parts(context, fitted)
    with timer.step("evaluate"):
        tested = run_protocols(settings, fitted.model, data.test, extract)
    rows = protocol_rows(tested, data.test.labels, data.target)
    # Where the target is no class, these are its outputs.
    first, probabilities = next((name, result.probabilities) for name, result in tested.items())
    cached = bool(settings["cache"]["enabled"])
    names = find_imagenet_names(backbone, fitted.model, fitted.stages, data, extract) if cached else {}
    metrics = {
        "test": metrics_of(rows[first]),
        "val": fitted.val_metrics(data.val.labels),
        "strategy": settings["strategy"]["name"],
        **describe(settings, data, backbone, fitted.model),
        "trainable_parameters": fitted.trainable_parameters,
        "selection": {"by": "val", "images": len(data.val)},
        **(_with_test(fitted.details, probabilities, data.test.labels) if first == "center" else fitted.details),
        **compared_networks(settings, run_dir),
        "stages": {stage: dict(figures) for stage, figures in fitted.stages.items()},
        **({"protocols": rows} if len(rows) > 1 else {}),
        **({"imagenet_names": names} if names else {}),
        "cached": reuse.facts(),
        "seconds": timer.seconds(),
    }
    result = _run_result(context, fitted, metrics, probabilities)
    write_run(run_dir, settings, data, fitted, result, split_seed)
    write_json(run_dir / "metrics.json", {**metrics, "seconds": timer.seconds()})
    if context.logger:
        context.logger.log_result(settings, metrics)
    log.info("%s", summary(metrics, run_dir), extra={"result": main_words(data.target.kind)})


def _run_result(
    context: Context, fitted: Fitted, metrics: Mapping[str, Any], probabilities: Probabilities
) -> RunResult:
    """Return the result of a fit for its report; probabilities (N, K) are those of the test images."""
    data, settings = context.data, context.settings
    return RunResult(
        settings=settings,
        command=command_line(),
        metrics=metrics,
        class_names=data.class_names,
        test=data.test,
        probabilities=probabilities,
        split_note=data.split_note,
        class_counts=data.class_counts(),
        sweep=fitted.sweep,
        history=fitted.history,
        arguments=kept_arguments("task=", "task.", "hydra.", "-"),
        run=str(shown_path(context.run_dir)),
        **(_explained(context, fitted.model, probabilities, metrics) if data.target.exclusive else {}),
        other_target=data.other_target,
        sizes={name: len(images) for name, images in data.splits.items()},
    )


def _explained(
    context: Context, model: TransferModel, probabilities: Probabilities, metrics: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what explains predictions on test, as arguments of `RunResult`: heat maps, neighbours, a map."""
    data, settings, extract = context.data, context.settings, context.extract
    wrong = worst_mistakes(data.test, probabilities, MISTAKES_EXPLAINED).tolist()
    reason = why_none(model) if wrong else ""
    # The images that new ones are compared with, where the model tells known images.
    known = metrics.get("known")
    compared = compared_images(data, known["on"] == "val", settings["seed"]) if known else None
    method = settings["report"]["map"] if settings["cache"]["enabled"] else None
    return {
        "heat_maps": dict(heat_maps(model, data.test, wrong)) if reason is None else {},
        "heat_map_method": heat_map_method(model),
        "no_heat_maps": reason or "",
        "neighborhoods": find_neighborhoods(model, data, probabilities, extract, compared),
        "places": find_places(model, data.test, probabilities, extract, method) if method else None,
    }


def _with_test(details: Mapping[str, Any], probabilities: Probabilities, labels: Labels) -> dict[str, Any]:
    """Return the details of a fit with the calibration on test, where the model was calibrated."""
    calibrated = {KEY: with_test(details[KEY], probabilities, labels)} if KEY in details else {}
    return {**details, **calibrated}


def write_run(
    run_dir: Path,
    settings: Mapping[str, Any],
    data: ImageData,
    fitted: Fitted,
    result: RunResult,
    split_seed: int | None = None,
) -> None:
    """Write the artifact, `predictions.csv`, `report.html`, and `history.csv` where something was trained."""
    save_model(run_dir, fitted.model, **artifact_notes(settings, split_seed))
    write_outputs(run_dir / "predictions.csv", data.test.names, data.test.labels, result.probabilities, data.target)
    write_history(run_dir, settings, fitted.history)
    if "protocols" in result.metrics:
        write_protocols(run_dir, result.metrics["protocols"])
    write_page(run_dir / "report.html", result)
