"""Figures of an inspection's page."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transferkit.inspection.activation_statistics import Measured
from transferkit.inspection.layers import Layer, Sum
from transferkit.report.figures import INK, LINES, RULE, new_figure, to_svg

_SPARK = (60, 16)
_LINEAR_TO = 20
_CLOSE = 0.06
"""Of the axis: stages nearer to each other have slanted names."""


def share_figure(stages: Mapping[str, Sum], total: Sum) -> str:
    """Draw the share of each stage in activations, parameters and multiply-adds, in percent."""
    kinds = [
        ("activations", [one.values for one in stages.values()], total.values),
        ("parameters", [one.parameters for one in stages.values()], total.parameters),
        ("multiply-adds", [one.multiply_adds for one in stages.values()], total.multiply_adds),
    ]
    places = np.arange(len(stages))
    with new_figure(6.4, 2.9) as (figure, axes):
        for i, (name, values, whole) in enumerate(kinds):
            heights = [100 * value / whole if whole else 0 for value in values]
            axes.bar(places + 0.27 * (i - 1), heights, 0.25, color=LINES[i], label=name)
        axes.set_xticks(places, list(stages))
        axes.tick_params(axis="x", length=0)
        axes.grid(axis="x", visible=False)
        axes.set_ylabel("share, %")
        axes.legend(frameon=False, labelcolor=INK, loc="upper center", bbox_to_anchor=(0.5, 1.16), ncols=3)
        return to_svg(figure, "Share of each stage in activations, parameters and multiply-adds")


def memory_figure(names: Sequence[str], parts: Mapping[str, Sequence[float]]) -> str:
    """Draw the memory of training steps in GB as stacked bars, one row for each of `names`."""
    with new_figure(6.4, 0.42 * len(names) + 1.1) as (figure, axes):
        left = np.zeros(len(names))
        for (part, values), colour in zip(parts.items(), LINES, strict=False):
            axes.barh(range(len(names)), np.array(values) / 1e9, 0.55, left=left, color=colour, label=part)
            left += np.array(values) / 1e9
        axes.set_yticks(range(len(names)), list(names))
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("GB")
        axes.legend(frameon=False, labelcolor=INK, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4)
        return to_svg(figure, "Memory of a training step")


def activation_figure(layers: Sequence[Layer], measured: Measured) -> str:
    """Draw mean and standard deviation of each layer's output, and below it the share of dead units in percent."""
    rows = [row for row in sorted(measured.activations) if layers[row].stage]
    found = [measured.activations[row] for row in rows]
    places = np.arange(len(rows))
    mean, std = np.array([one.mean for one in found]), np.array([one.std for one in found])
    with new_figure(7.2, 4.2, rows=2, sharex=True, height_ratios=(3, 1)) as (figure, (axes, below)):
        axes.fill_between(places, mean - std, mean + std, color=LINES[0], alpha=0.2, lw=0)
        axes.plot(places, mean, "o-", color=LINES[0], ms=3, lw=1, label="mean, with one standard deviation")
        if max(abs(mean) + std) > _LINEAR_TO:
            axes.set_yscale("symlog", linthresh=1)  # linear up to 1, then logarithmic
        axes.set_ylabel("activation")
        axes.legend(frameon=False, labelcolor=INK, loc="lower right", bbox_to_anchor=(1, 1))
        below.bar(places, [100 * one.dead / one.units for one in found], 0.8, color=LINES[1])
        below.set(ylabel="dead units, %", ylim=(0, max(5, 1.1 * max(100 * one.dead / one.units for one in found))))
        _stage_ticks(below, [layers[row] for row in rows], (axes, below))
        return to_svg(figure, "Mean and standard deviation of the activations, and dead units, by layer")


def gradient_figure(layers: Sequence[Layer], measured: Measured) -> str:
    """Draw the norm of the gradient over the norm of the parameters, by layer, on a logarithmic axis."""
    rows = [row for row in sorted(measured.gradients) if measured.gradients[row] > 0 and measured.weights[row] > 0]
    ratio = [measured.gradients[row] / measured.weights[row] for row in rows]
    with new_figure(7.2, 2.8) as (figure, axes):
        axes.plot(range(len(rows)), ratio, "o-", color=LINES[2], ms=3, lw=1)
        axes.set_yscale("log")
        axes.set_ylabel("gradient / weights")
        _stage_ticks(axes, [layers[row] for row in rows], (axes,))
        return to_svg(figure, "Norm of the gradient over the norm of the weights, by layer")


def _stage_ticks(axes: Any, layers: Sequence[Layer], lined: Sequence[Any]) -> None:
    """Name the stages below the axis, and separate them by lines."""
    starts = [i for i in range(len(layers)) if i == 0 or layers[i].stage != layers[i - 1].stage]
    ends = [*starts[1:], len(layers)]
    middles = [(start + end - 1) / 2 for start, end in zip(starts, ends, strict=True)]
    close = min(np.diff(middles), default=len(layers)) < _CLOSE * len(layers)
    slanted: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if close else {}
    axes.set_xticks(middles, [layers[start].stage for start in starts], **slanted)
    for one in lined:
        one.grid(axis="x", visible=False)
        one.tick_params(axis="x", length=0)
        for start in starts[1:]:
            one.axvline(start - 0.5, color=RULE, lw=1)


def spark(counts: npt.NDArray[np.float64]) -> str:
    """A histogram as a small picture, on a square-root scale, since most values of a ReLU are zero."""
    width, height = _SPARK
    heights = np.sqrt(counts / max(counts.max(), 1e-12)) * height
    step = width / len(counts)
    path = "".join(f"M{i * step:.1f} {height}v-{h:.1f}h{step:.1f}v{h:.1f}z" for i, h in enumerate(heights) if h > 0.05)
    return (
        f'<svg class="spark" viewBox="0 0 {width} {height}" role="img" aria-label="Histogram"><path d="{path}"/></svg>'
    )
