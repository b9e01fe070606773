"""The report of a run, `report.html`: one self-contained page without network access."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from transferkit.files import write_text
from transferkit.metrics import Bin, at_temperature, reliability_bins
from transferkit.report.classes import Confusion, class_rows, confuse, confused_pairs
from transferkit.report.confusion_order import by_similarity, cell_data
from transferkit.report.ensemble_table import disagreement_words, gain_words
from transferkit.report.facts import (
    as_yaml,
    chosen_by,
    chosen_C,
    cost,
    data_notes,
    headline,
    judged_on,
    scores,
    setting,
    splits,
    stage_scores,
    versions,
)
from transferkit.report.figures import (
    cells_per_pixel,
    confusion_picture,
    depth_figure,
    history_figure,
    reliability_figure,
    sweep_figure,
)
from transferkit.report.gallery import run_gallery
from transferkit.report.image_map import map_figure, map_key
from transferkit.report.nearest import show_neighborhoods
from transferkit.report.next_steps import next_steps, verdict
from transferkit.report.render import render
from transferkit.report.run_result import RunResult
from transferkit.report.score_columns import score_columns

PAIRS_SHOWN, CLASSES_SHOWN = 15, 15
COUNTS_SHOWN_TO = 12
"""Up to this many classes the cells of the confusion matrix show counts."""
LABELS_SHOWN_TO = 40
"""Up to this many classes the confusion matrix is a table with labels; beyond it is an image."""


def write_report(path: Path, result: RunResult) -> None:
    """Write the report of a run as one HTML file, atomically; an existing one is replaced."""
    write_text(path, render_report(result))


def render_report(result: RunResult) -> str:
    """Return the page."""
    return render("report.html.j2", content(result))


def content(result: RunResult) -> dict[str, Any]:
    """Return the variables of the template."""
    test, probabilities, names = result.test, result.probabilities, result.class_names
    predicted = probabilities.argmax(axis=1)
    chosen = chosen_C(result)
    shown = run_gallery(result)
    bins = reliability_bins(probabilities, test.labels)
    found, confusion = headline(result), confuse(test.labels, predicted, names)
    return {
        **common_content(result),
        "num_classes": len(names),
        "headline": found,
        "verdict": verdict(result, found),
        "next_steps": next_steps(result, found, confusion),
        "scores": scores(result),
        "gallery": shown,
        "map": Markup(map_figure(result, {card.index for card in shown.cards})) if result.places else None,
        "map_key": map_key(result) if result.places else {},
        "map_method": result.places.method if result.places else "",
        "no_heat_maps": result.no_heat_maps,
        "heat_map_method": result.heat_map_method,
        "heated": len(result.heat_maps),
        **_confusion(confusion),
        "classes": class_rows(test.labels, predicted, names, result.class_counts),
        "classes_shown": CLASSES_SHOWN,
        "imagenet_names": result.metrics.get("imagenet_names", {}),
        "bins": bins,
        **_calibration(result, bins),
        "chosen_C": chosen,
        "sweep": Markup(sweep_figure(result.sweep, chosen, judged_on(result.metrics))) if result.sweep else None,
        **_stages(result),
        "neighborhoods": show_neighborhoods(result) if "k" in result.metrics else [],
        "neighbors_tried": result.metrics.get("neighbors", []),
        "k": result.metrics.get("k"),
        "splits": splits(result),
    }


def common_content(result: RunResult) -> dict[str, Any]:
    """Return the variables of the template that are the same for every target."""
    return {
        "fitted": "model" not in result.metrics,
        "protocols": result.metrics.get("protocols", {}),
        "score_columns": score_columns(result.target.kind),
        **_ensemble(result),
        "setting": setting(result),
        "chosen_by": chosen_by(result.metrics),
        "choice": result.metrics.get("choice", {}).get("why", ""),
        "judged_on": judged_on(result.metrics),
        **_training(result),
        "split_note": result.split_note,
        "data_notes": data_notes(result),
        "identical": result.metrics.get("data", {}).get("identical", {}).get("examples", []),
        "cost": cost(result),
        "trainable_parameters": result.metrics.get("trainable_parameters"),
        "total_parameters": result.metrics.get("total_parameters"),
        "command": result.command,
        "seed": result.settings.get("seed"),
        "versions": versions(),
        "settings": as_yaml(result.settings),
    }


def _ensemble(result: RunResult) -> dict[str, Any]:
    """Return the members of an ensemble, and its gain and their disagreement in words."""
    found, kind = result.metrics.get("ensemble"), result.target.kind
    if not found:
        return {"ensemble": None}
    return {"ensemble": found, "gain": gain_words(found, kind), "disagreement": disagreement_words(found, kind)}


def _calibration(result: RunResult, bins: Sequence[Bin]) -> dict[str, Any]:
    """Return the reliability diagram, with what it was before the temperature, if there is one."""
    found = result.metrics.get("calibration", {})
    before = None
    if found.get("temperature", 1.0) != 1.0:
        before = reliability_bins(at_temperature(result.probabilities, 1 / found["temperature"]), result.test.labels)
    return {
        "reliability": Markup(reliability_figure(bins, before)),
        "temperature": found.get("temperature"),
        "calibrated": found.get("test"),
    }


def _stages(result: RunResult) -> dict[str, Any]:
    """Return the accuracy by stage, if several stages were probed."""
    top1, chosen = stage_scores(result), result.metrics.get("stage")
    several = len(top1) > 1
    return {
        "stages": result.metrics.get("stages", {}) if several else {},
        "stage": chosen,
        "depth": Markup(depth_figure(top1, chosen, judged_on(result.metrics))) if several else None,
    }


def _training(result: RunResult) -> dict[str, Any]:
    """Return the training curves and the number of epochs by phase, if there was training."""
    phases: dict[str, int] = {}
    for row in result.history:
        phases[str(row.get("phase", ""))] = phases.get(str(row.get("phase", "")), 0) + 1
    kept = {name: row["best_epoch"] for name, row in result.metrics.get("phases", {}).items() if "best_epoch" in row}
    before = {name: row["before"] for name, row in result.metrics.get("phases", {}).items() if "before" in row}
    return {
        "training": Markup(history_figure(result.history, kept, before)) if result.history else None,
        "from_0": bool(before),
        "phases": phases,
        "kept": kept,
    }


def _confusion(confusion: Confusion) -> dict[str, Any]:
    """Return the confusion matrix as a table or, for many classes, as an image with the most frequent confusions."""
    size = len(confusion.names)
    shown = by_similarity(confusion) if size > COUNTS_SHOWN_TO else confusion
    as_picture = size > LABELS_SHOWN_TO
    return {
        "confusion": None if as_picture else shown,
        "by_similarity": shown is not confusion,
        "counts_shown": size <= COUNTS_SHOWN_TO,
        "confusion_picture": confusion_picture(shown) if as_picture else None,
        "confusion_cells": cell_data(shown) if as_picture else None,
        "cells_per_pixel": cells_per_pixel(size),
        "pairs": confused_pairs(confusion, PAIRS_SHOWN) if size > COUNTS_SHOWN_TO else [],
    }
