"""The figures of a comparison, in the style of a run's report."""

from collections.abc import Mapping, Sequence
from typing import Any

from transferkit.compare.groups import Group, pareto_front
from transferkit.report.figures import INK, LINES, MUTED, RULE, new_figure, to_svg

TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 4 * 3600, 12 * 3600, 24 * 3600)
"""Candidate ticks, in seconds."""


def cost_figure(groups: Sequence[Group], names: Mapping[Group, str]) -> str:
    """Draw test top-1 over the cost of a run (`Group.cost`), one labelled point per group.

    A vertical line shows the range over its runs. Points of the Pareto front are filled.
    """
    front = pareto_front(groups)
    colours = colour_by([group.network for group in groups])
    height = max(2.8, 0.2 * len(groups) + 0.8)
    with new_figure(7.2, height) as (figure, axes):
        axes.set_xscale("log")
        _seconds(axes, [group.cost for group in groups])  # first, since all points may coincide
        axes.plot([g.cost for g in front], [100 * g.top1.mean for g in front], "-", color=MUTED, lw=1)
        for group in groups:
            colour = colours[group.network]
            fill = colour if group in front else "none"
            axes.vlines(group.cost, 100 * group.top1.low, 100 * group.top1.high, color=colour, alpha=0.3)
            axes.plot(group.cost, 100 * group.top1.mean, "o", color=colour, mfc=fill, ms=7, clip_on=False)
        axes.set(xlabel="time of a run that finds nothing in the cache", ylabel="test top-1, %", ylim=_around(groups))
        _label(axes, [(g.cost, 100 * g.top1.mean, names[g], g in front) for g in groups], 0.17 / (height - 0.7))
        return to_svg(figure, "Test top-1 accuracy over the time of a run")


def seeds_figure(groups: Sequence[Group], names: Mapping[Group, str]) -> str:
    """Draw test top-1 of every run as a dot, one row per group, its mean as a vertical line; in the table's order."""
    rows = range(len(groups), 0, -1)
    colours = colour_by([group.network for group in groups])
    with new_figure(7.2, 0.26 * len(groups) + 0.8) as (figure, axes):
        for row, group in zip(rows, groups, strict=True):
            values = [100 * run.metrics["test"]["top1"] for run in group.runs]
            axes.plot([100 * group.top1.mean] * 2, [row - 0.32, row + 0.32], color=INK, lw=1.5)
            axes.plot(values, [row] * len(values), "o", color=colours[group.network], ms=6, alpha=0.7)
        axes.set_yticks(list(rows), [names[group] for group in groups])
        axes.set(xlabel="test top-1, %", ylim=(0.4, len(groups) + 0.6))
        axes.grid(axis="y", visible=False)
        return to_svg(figure, "Test top-1 accuracy of every run")


def learning_figure(curves: Mapping[str, Sequence[Group]]) -> str:
    """Draw test top-1 over the labelled images per class, one line per strategy and network, with its range."""
    with new_figure(6.4, 4.2) as (figure, axes):
        for (name, groups), colour in zip(curves.items(), LINES * len(curves), strict=False):
            groups = sorted(groups, key=lambda group: group.per_class or 0)
            images, means = [group.per_class for group in groups], [100 * group.top1.mean for group in groups]
            axes.plot(images, means, "o-", color=colour, ms=5, label=name)
            low, high = [100 * g.top1.low for g in groups], [100 * g.top1.high for g in groups]
            axes.vlines(images, low, high, color=colour, alpha=0.5)
        axes.set_xscale("log")
        counts = sorted({round(g.per_class or 0) for groups in curves.values() for g in groups})
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.set_xticks([], minor=True)
        axes.set(xlabel="labelled images per class (train and val)", ylabel="test top-1, %")
        axes.legend(frameon=False, labelcolor=INK, loc="upper left", bbox_to_anchor=(0, -0.16), ncols=2)
        return to_svg(figure, "Test top-1 accuracy over the labelled images per class")


def colour_by(keys: Sequence[str]) -> dict[str, str]:
    """Assign a colour to each distinct key, in alphabetical order."""
    return {key: LINES[i % len(LINES)] for i, key in enumerate(sorted(set(keys)))}


def apart(wanted: Sequence[float], gap: float) -> list[float]:
    """Move positions, given in ascending order, so that they are at least `gap` apart and within [0, 1].

    If they do not all fit, they are spread evenly.
    """
    n = len(wanted)
    if (n - 1) * gap >= 1:
        return [i / (n - 1) for i in range(n)]
    places: list[float] = []
    for place in wanted:
        places.append(max(place, places[-1] + gap if places else 0.0))
    limit = 1.0
    for i in reversed(range(n)):
        places[i] = min(places[i], limit)
        limit = places[i] - gap
    return places


def _label(axes: Any, points: Sequence[tuple[float, float, str, bool]], gap: float) -> None:
    """Write the names in a column next to the axes, each with a thin line to its point (x, y, name, strong)."""
    points = sorted(points, key=lambda point: (point[1], -point[0]))
    low, high = axes.get_ylim()
    places = apart([(y - low) / (high - low) for _, y, _, _ in points], gap)
    for (x, y, name, strong), place in zip(points, places, strict=True):
        axes.annotate(
            name,
            (x, y),
            (1.05, place),
            textcoords="axes fraction",
            va="center",
            color=INK if strong else MUTED,
            arrowprops={"arrowstyle": "-", "color": RULE, "lw": 0.8, "shrinkB": 4},
            annotation_clip=False,
        )


def _around(groups: Sequence[Group]) -> tuple[float, float]:
    """Axis limits in percent with a margin around the top-1 of all runs, even if they are all equal."""
    low, high = 100 * min(group.top1.low for group in groups), 100 * max(group.top1.high for group in groups)
    room = max(0.08 * (high - low), 0.5)
    return low - room, high + room


def _seconds(axes: Any, values: Sequence[float]) -> None:
    """Set ticks at round durations, from one below all values to one above."""
    left = max((tick for tick in TICKS if tick < min(values)), default=min(values) / 2)
    right = min((tick for tick in TICKS if tick > max(values)), default=max(values) * 2)
    ticks = [tick for tick in TICKS if left <= tick <= right]
    axes.set_xlim(left, right)
    step = -(-len(ticks) // 7) if ticks else 1
    axes.set_xticks(ticks[::step], [_short(tick) for tick in ticks[::step]])
    axes.set_xticks([], minor=True)


def _short(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:g} s"
    return f"{seconds / 60:g} min" if seconds < 3600 else f"{seconds / 3600:g} h"
