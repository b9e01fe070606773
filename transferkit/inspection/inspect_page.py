"""The page of an inspection (`report.html`), in the style of a run's report."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from transferkit.files import write_text
from transferkit.inspection.amounts import count, memory, one_side, shape, share, sides
from transferkit.inspection.inspect_figures import (
    activation_figure,
    gradient_figure,
    memory_figure,
    share_figure,
    spark,
)
from transferkit.inspection.inspected import Inspected
from transferkit.inspection.layers import Layer, by_stage
from transferkit.report.next_steps import Step
from transferkit.report.render import render


def _unbroken(write: Callable[..., str]) -> Callable[..., str]:
    """The same text with spaces at which lines are not broken."""
    return lambda *values: write(*values).replace(" ", "\u202f")


FILTERS = {"amount": _unbroken(count), "memory": _unbroken(memory), "share": _unbroken(share)}

OPEN_TO = 60
"""Rows up to which all stages are unfolded."""


def write_inspect_page(path: Path, inspected: Inspected, command: str, steps: Sequence[Step] = ()) -> None:
    """Write the page; an existing one is replaced atomically."""
    write_text(path, render_inspection(inspected, command, steps))


def render_inspection(inspected: Inspected, command: str, steps: Sequence[Step] = ()) -> str:
    """Return the page."""
    total, measured = inspected.total, inspected.measured
    content = {
        "one": inspected,
        "total": total,
        "size": inspected.bytes_per_value,
        "stages": inspected.stages,
        "groups": {stage: _rows(layers) for stage, layers in by_stage(inspected.layers).items()},
        "unfolded": len(inspected.layers) <= OPEN_TO,
        "largest": max(inspected.layers, key=lambda layer: layer.values),
        "heaviest": max(inspected.layers, key=lambda layer: layer.parameters),
        "shares": Markup(share_figure(inspected.stages, total)),
        "steps": _steps(inspected),
        "memory_plot": Markup(_memory_plot(inspected)),
        "measured": measured,
        "statistics": _statistics(inspected) if measured is not None else [],
        "activations": Markup(activation_figure(inspected.measured_layers, measured)) if measured else "",
        "gradients": Markup(gradient_figure(inspected.measured_layers, measured)) if measured else "",
        "command": command,
        "next_steps": steps,
    }
    return render("inspect.html.j2", content, "inspection", **FILTERS)


def _rows(layers: Sequence[Layer]) -> list[dict[str, Any]]:
    return [
        {
            "layer": layer,
            "kernel": sides(layer.kernel),
            "stride": one_side(layer.stride),
            "padding": one_side(layer.padding),
            "output": shape(layer.output),
            "field": layer.field.text if layer.field else "",
            "step": layer.field.step_text if layer.field else "",
        }
        for layer in layers
    ]


def _steps(inspected: Inspected) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "cost": cost,
            "activations": cost.activation_bytes(inspected.batch, inspected.precision),
            "total": cost.total_bytes(inspected.batch, inspected.precision),
        }
        for name, cost in zip(_step_names(inspected), inspected.costs, strict=True)
    ]


def _step_names(inspected: Inspected) -> list[str]:
    phases = [f"{inspected.strategy}: {cost.name}" for cost in inspected.costs[1:]]
    return [cost.name for cost in inspected.costs[:1]] + phases


def _memory_plot(inspected: Inspected) -> str:
    costs = inspected.costs
    return memory_figure(
        _step_names(inspected),
        {
            "weights": [4 * inspected.total.parameters] * len(costs),
            "activations": [cost.activation_bytes(inspected.batch, inspected.precision) for cost in costs],
            "gradients": [cost.gradient_bytes for cost in costs],
            "optimizer": [cost.optimizer_bytes for cost in costs],
        },
    )


def _statistics(inspected: Inspected) -> list[dict[str, Any]]:
    measured = inspected.measured
    assert measured is not None
    rows = []
    for row, layer in enumerate(inspected.measured_layers):
        found = measured.activations.get(row)
        if found is not None and layer.stage:
            norm = measured.weights.get(row, 0.0)
            rows.append(
                {
                    "layer": layer,
                    "found": found,
                    "spark": Markup(spark(found.counts)),
                    "low": float(found.edges[0]),
                    "high": float(found.edges[-1]),
                    "gradient": measured.gradients.get(row),
                    "ratio": measured.gradients[row] / norm if norm and row in measured.gradients else None,
                }
            )
    return rows
