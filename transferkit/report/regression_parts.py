"""Numbers in tables and on the page: predicted against true values, and what is left over."""

from typing import Any

import numpy as np
from markupsafe import Markup

from transferkit.arrays import Doubles
from transferkit.report.facts import show_score
from transferkit.report.figures import LINES, MUTED, new_figure, to_svg
from transferkit.report.run_result import RunResult
from transferkit.report.target_parts import Figure, Parts, Row, Section, TableParts, worst_tiles
from transferkit.targets.regression_target import ValuesPrediction
from transferkit.targets.target import Target

POINTS = 2000
"""Images drawn at most, evenly spaced over the split."""

FIGURES = (
    Figure("r2", "R²", "share of the variance that is predicted; 0 is always predicting the mean", "nll", "R²"),
    Figure("mae", "Mean absolute error", "in the units of the table", "number", "MAE"),
    Figure("rmse", "Root mean squared error", "in the units of the table; large errors count more", "number", "RMSE"),
    Figure("loss", "Standardised squared error", "in units of the variance of the training images", "nll"),
    Figure("n", "Images", "", "n"),
)


def scatter_figure(true: Doubles, predicted: Doubles, name: str) -> str:
    """Draw predicted against true values (N,), and below it the residuals, predicted minus true."""
    step = max(1, -(-len(true) // POINTS))
    true, predicted = true[::step], predicted[::step]
    ends = [float(min(true.min(), predicted.min())), float(max(true.max(), predicted.max()))]
    with new_figure(4.6, 5.2, rows=2, sharex=True, height_ratios=(2, 1)) as (figure, (axes, below)):
        axes.plot(ends, ends, "--", color=MUTED, lw=1)
        axes.plot(true, predicted, "o", color=LINES[0], ms=3, alpha=0.5)
        axes.set_ylabel("predicted")
        below.axhline(0, color=MUTED, lw=1, ls="--")
        below.plot(true, predicted - true, "o", color=LINES[1], ms=3, alpha=0.5)
        below.set(xlabel=name, ylabel="predicted - true")
        return to_svg(figure, "Predicted against true values, and residuals")


def _brief(prediction: ValuesPrediction) -> str:
    if len(prediction.values) == 1:
        return f"{prediction.value:.4g}"
    return ", ".join(f"{name} {value:.4g}" for name, value in prediction.values.items())


def _sections(result: RunResult) -> list[Section]:
    """Predicted against true, metrics of every value, and the images with the largest errors."""
    target, labels, outputs = result.target, result.test.labels, result.probabilities
    pairs = [(labels[:, k].astype(np.float64), outputs[:, k].astype(np.float64)) for k in range(len(target.names))]
    figures = [Markup(scatter_figure(*pair, name)) for pair, name in zip(pairs, target.names, strict=True)]
    rows = [
        [name, show_score(row["r2"], "nll"), show_score(row["mae"], "number"), show_score(row["rmse"], "number")]
        for name, row in result.metrics["test"]["per_value"].items()
    ]
    order = np.argsort(-target.losses(outputs, labels), kind="stable")
    return [
        Section(
            "values",
            "Predicted against true",
            "Each test image is a dot; on the dashed line the prediction is right. Below are the residuals: a slope "
            "means that predictions are drawn towards the mean.",
            figures=figures,
            header=["Value", "R²", "Mean absolute error", "Root mean squared error"],
            rows=rows if len(rows) > 1 else (),
        ),
        Section("mistakes", "Largest errors", "The largest first.", tiles=worst_tiles(result, order, _brief)),
    ]


def _label_header(target: Target) -> list[str]:
    return [f"true {name}" for name in target.names]


def _label_cells(target: Target, label: Any) -> list[str]:
    return target.text(label).split(";")


PARTS = Parts(
    FIGURES,
    TableParts(
        header=lambda target: Row(list(target.names)),
        cells=lambda found: Row([f"{value:.7g}" for value in found.values.values()]),
        brief=lambda found: f"{_brief(found):>12}",
    ),
    label_header=_label_header,
    label_cells=_label_cells,
    sections=_sections,
)
