"""Common types of what each kind of target shows in tables, on the screen and on the page of a run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from transferkit.report.examples import short_names, thumbnail
from transferkit.report.facts import show_score
from transferkit.report.run_result import RunResult
from transferkit.targets.target import LabelRows, Outputs, Target

WORST_SHOWN = 24


class Figure(NamedTuple):
    """A metric: key in metrics.json, name, what it means, format for `facts.show_score`, and a short name."""

    key: str
    name: str
    meaning: str
    format: str = "share"
    short: str = ""


class Tile(NamedTuple):
    """A test image: name, `data:` URI of its thumbnail (None if it cannot be read), if that is tiny, and its labels."""

    name: str
    picture: str | None
    tiny: bool
    true: str
    predicted: str


@dataclass(frozen=True)
class Section:
    """A part of the page: its anchor, heading and text; figures, the rows of a table, and images."""

    id: str
    heading: str
    text: str
    figures: Sequence[str] = ()
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    tiles: Sequence[Tile] = field(default_factory=list)


class Row(NamedTuple):
    """Cells of a table: those that say the prediction, and one for each class or label, which come last."""

    first: Sequence[str]
    last: Sequence[str] = ()


@dataclass(frozen=True)
class TableParts:
    """How the predictions of one kind of target are written.

    Attributes:
        header: Names of the columns, as `cells`.
        cells: Those of a prediction of `Target.answer`.
        brief: A prediction in a few words, for the screen.
    """

    header: Callable[[Target], Row]
    cells: Callable[[Any], Row]
    brief: Callable[[Any], str]


@dataclass(frozen=True)
class Parts:
    """How one kind of target is shown.

    Attributes:
        figures: The metrics, the main one first.
        table: The predictions.
        label_header: Names of the columns with the true labels of a table of test images.
        label_cells: The true label of one image.
        sections: The parts of the page that only this kind has.
    """

    figures: Sequence[Figure]
    table: TableParts
    label_header: Callable[[Target], Sequence[str]]
    label_cells: Callable[[Target, Any], Sequence[str]]
    sections: Callable[[RunResult], list[Section]]


def worst_tiles(result: RunResult, order: npt.NDArray[np.int64], brief: Callable[[Any], str]) -> list[Tile]:
    """Return test images in this order with their labels, at most `WORST_SHOWN`."""
    target, order = result.target, order[:WORST_SHOWN]
    chosen = result.test.subset(order)
    names = short_names(chosen.names) if chosen.in_files else chosen.names
    return [
        Tile(
            name,
            *thumbnail(chosen, i),
            target.text(chosen.labels[i]) or "(none)",
            brief(target.answer(result.probabilities[order[i]])),
        )
        for i, name in enumerate(names)
    ]


def image_rows(parts: Parts, target: Target, labels: LabelRows, outputs: Outputs) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the table of test images, without the column of their names."""
    first, last = parts.table.header(target)
    header = [*parts.label_header(target), *first, *last]
    rows = []
    for label, output in zip(labels, outputs, strict=True):
        cells = parts.table.cells(target.answer(output))
        rows.append([*parts.label_cells(target, label), *cells.first, *cells.last])
    return header, rows


def shown_figure(parts: Parts, metrics: Any, place: int = 0) -> str:
    """Return a metric as text, by default the main one."""
    figure = parts.figures[place]
    return show_score(metrics[figure.key], figure.format)
