"""The registry of how targets that are no classes are shown."""

from collections.abc import Mapping
from typing import Any

from transferkit.report import class_parts, multilabel_parts, ordinal_parts, regression_parts
from transferkit.report.facts import cross_validated, show_score
from transferkit.report.target_parts import Parts, TableParts

PARTS: dict[str, Parts] = {
    "multilabel": multilabel_parts.PARTS,
    "regression": regression_parts.PARTS,
    "ordinal": ordinal_parts.PARTS,
}
"""By the kind of the target."""

TABLES: dict[str, TableParts] = {"class": class_parts.TABLE, **{kind: parts.table for kind, parts in PARTS.items()}}
"""How predictions are written, by the kind of the target."""


def _plain_score(value: float | None, kind: str) -> str:
    """As `show_score`, with a plain space, for the screen."""
    return show_score(value, kind).replace("\u202f", " ")


def shown_main(value: float | None, kind: str) -> str:
    """Return the main figure of a stage as a line of the screen has it."""
    if kind not in PARTS or value is None:
        return "–" if value is None else f"{100 * value:6.2f} %"
    return f"{_plain_score(value, PARTS[kind].figures[0].format):>8}"


def main_name(kind: str) -> str:
    """Return the short name of the main figure: "top-1"."""
    return PARTS[kind].figures[0].short if kind in PARTS else "top-1"


def main_words(kind: str) -> str:
    """Return the name of the line with the main figure: "test top-1"."""
    return f"test {main_name(kind)}"


def score_lines(scores: Mapping[str, Any], kind: str) -> list[str]:
    """Return the lines of the screen with the figures on test."""
    if kind not in PARTS:
        return [
            f"  test top-1          {100 * scores['top1']:6.2f} %   on {scores['n']} images",
            f"  balanced accuracy   {100 * scores['balanced_accuracy']:6.2f} %",
        ]
    shown = [figure for figure in PARTS[kind].figures if figure.short]
    lines = [f"  {'test ' + figure.short:20}{_plain_score(scores[figure.key], figure.format):>8}" for figure in shown]
    return [f"{lines[0]}   on {scores['n']} images", *lines[1:]]


def figure_lines(metrics: Mapping[str, Any], kind: str) -> list[str]:
    """Return the lines of the screen with the figures on test, and the main one on the images that chose."""
    main = PARTS[kind].figures[0]
    judged = "out-of-fold" if cross_validated(metrics) else "val"
    why = ": cross-validation of train and val chose" if judged != "val" else ""
    found = _plain_score(metrics["val"][main.key], main.format)
    line = f"  {judged + ' ' + main.short:20}{found:>8}   on {metrics['val']['n']} images{why}"
    return [*score_lines(metrics["test"], kind), line]
