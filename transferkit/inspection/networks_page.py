"""Networks beside each other: in the terminal, as a table, and as a page with one figure."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from transferkit.files import write_csv, write_text
from transferkit.inspection.amounts import count, memory
from transferkit.inspection.compare_networks import Network, Networks
from transferkit.inspection.inspect_text import new_table, rendered
from transferkit.report.figures import INK, LINES, MUTED, new_figure, to_svg
from transferkit.report.render import render

COLUMNS = (
    *("network", "height", "width", "top1", "top5", "weights", "accuracy_size", "parameters", "multiply_adds"),
    *("activations", "images_per_second"),
)
_LARGEST = 900.0
"""Area of the largest circle, in square points."""


def networks_text(networks: Networks) -> str:
    """The table in plain text, by accuracy."""
    table = new_table(["network"], ["top-1", "parameters", "mult-adds", "activations", "images/s"])
    for one in _by_accuracy(networks):
        table.add_row(
            *(one.name, f"{one.accuracy.top1:.2f} %" if one.accuracy else "", count(one.parameters)),
            *(count(one.multiply_adds), count(one.values), f"{one.speed:.1f}" if one.speed else ""),
        )
    lines = ["", rendered(table), "", "ImageNet top-1 as published for the default weights; the rest for one image."]
    return "\n".join([*lines, *([f"Images a second: {networks.place}."] if networks.place else [])])


def write_networks(folder: Path, networks: Networks, command: str) -> None:
    """Write networks.csv and report.html."""
    write_csv(folder / "networks.csv", COLUMNS, _rows(networks))
    write_text(folder / "report.html", render_networks(networks, command))


def render_networks(networks: Networks, command: str) -> str:
    """Return the page."""
    content = {
        "networks": _by_accuracy(networks),
        "place": networks.place,
        "figure": Markup(networks_figure(networks)),
        "command": command,
    }
    return render("networks.html.j2", content, "inspection", amount=count, memory=memory)


def networks_figure(networks: Networks) -> str:
    """Draw accuracy over multiply-adds, and over measured speed if there is one; the area shows the parameters."""
    rows = [one for one in networks.rows if one.accuracy is not None]
    most = max((one.parameters for one in rows), default=1)
    panels = ["multiply-adds, billions"] + (["images a second on this machine"] if networks.place else [])
    with new_figure(7.2, 3.6 * len(panels), rows=len(panels), squeeze=False) as (figure, axes):
        for i, label in enumerate(panels):
            panel = axes[i, 0]
            panel.set_xscale("log")
            points = [
                ((one.speed or 1.0) if i else one.multiply_adds / 1e9, one.accuracy.top1)
                for one in rows
                if one.accuracy
            ]
            for j, (one, (x, y), below) in enumerate(zip(rows, points, names_below(points), strict=True)):
                area = max(_LARGEST * one.parameters / most, 8)
                panel.scatter([x], [y], s=area, color=LINES[j % len(LINES)], alpha=0.45, lw=0, clip_on=False)
                panel.plot([x], [y], ".", color=INK, ms=3)
                away = 4 + (area**0.5) / 2
                place = {"xytext": (0, -away if below else away), "va": "top" if below else "bottom"}
                panel.annotate(one.name, (x, y), textcoords="offset points", ha="center", **place)
            panel.margins(0.12, 0.2)
            panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            panel.xaxis.set_minor_formatter(lambda value, _: "")
            panel.set(xlabel=label, ylabel="ImageNet top-1, %")
        if not rows:
            axes[0, 0].text(
                0.5, 0.5, "no accuracy is published", ha="center", color=MUTED, transform=axes[0, 0].transAxes
            )
        return to_svg(figure, "ImageNet accuracy over operations and speed; the area shows the parameters")


def names_below(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Whether the name of each point (x on a logarithmic axis, y) goes below it: a neighbour's would overlap above."""
    width = max((math.log(max(x for x, _ in points) / min(x for x, _ in points)), 1e-9)) if points else 1.0
    height = max(max(y for _, y in points) - min(y for _, y in points), 1e-9) if points else 1.0
    below = [False] * len(points)
    for j, (x, y) in enumerate(points):
        near = [
            k
            for k in range(j)
            if abs(math.log(points[k][0] / x)) < 0.16 * width and abs(points[k][1] - y) < 0.08 * height
        ]
        below[j] = any(not below[k] for k in near)
    return below


def _by_accuracy(networks: Networks) -> Sequence[Network]:
    return sorted(networks.rows, key=lambda one: -one.accuracy.top1 if one.accuracy else 0.0)


def _rows(networks: Networks) -> Iterator[Sequence[Any]]:
    for one in networks.rows:
        found = one.accuracy
        published = (found.top1, found.top5, found.weights, found.size) if found else ("", "", "", "")
        speed = f"{one.speed:.2f}" if one.speed else ""
        yield [one.name, *one.size, *published, one.parameters, one.multiply_adds, one.values, speed]
