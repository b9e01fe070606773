"""The columns of tables that compare scores: test protocols, members of an ensemble; on the screen and on pages."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from transferkit.report.facts import percent, show_score
from transferkit.report.parts_by_target import PARTS

WIDTH = 9
"""Characters of a column on the screen, at least."""


class ScoreColumn(NamedTuple):
    """A metric in a table: its key in metrics.json, its heading, and its format for `facts.show_score`."""

    key: str
    heading: str
    format: str


CLASS_COLUMNS = (
    ScoreColumn("top1", "top-1", "share"),
    ScoreColumn("balanced_accuracy", "balanced", "share"),
    ScoreColumn("ece", "ECE", "share"),
    ScoreColumn("nll", "NLL", "nll"),
)


def score_columns(kind: str) -> Sequence[ScoreColumn]:
    """Return the columns for a kind of target; the main metric comes first, the loss last."""
    if kind not in PARTS:
        return CLASS_COLUMNS
    named = [ScoreColumn(one.key, one.short, one.format) for one in PARTS[kind].figures if one.short]
    return [*named, ScoreColumn("loss", "loss", "nll")]


def heading_text(kind: str) -> str:
    """Return the headings for the screen."""
    return "  ".join(f"{column.heading:>{_width(column)}}" for column in score_columns(kind))


def score_text(scores: Mapping[str, Any], kind: str) -> str:
    """Return the scores under these headings."""
    return "  ".join(f"{_precise(scores[column.key], column):>{_width(column)}}" for column in score_columns(kind))


def _width(column: ScoreColumn) -> int:
    return max(WIDTH, len(column.heading))


def _precise(value: float | None, column: ScoreColumn) -> str:
    """A score with one digit more than elsewhere, since rows of these tables differ little; with plain spaces."""
    if value is None or column.format not in ("share", "nll"):
        found = show_score(value, column.format)
    else:
        found = percent(value, 2) if column.format == "share" else f"{value:.4f}"
    return found.replace("\u202f", " ")
