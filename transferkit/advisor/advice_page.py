"""The page of an advice (`report.html`, `advice.html`), in the style of a run's report."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from transferkit.advisor.advice_figures import curve_figure, distance_figure, networks_figure, quadrant_figure
from transferkit.advisor.network_table import heading
from transferkit.advisor.quadrant import TABLE
from transferkit.advisor.rules import RULES
from transferkit.advisor.text import SCORE_NAMES
from transferkit.files import write_text
from transferkit.ranking import best_stage
from transferkit.report.figures import depth_figure
from transferkit.report.next_steps import Step
from transferkit.report.render import render


def write_advice_page(path: Path, advice: Mapping[str, Any], split_note: str, steps: Sequence[Step] = ()) -> None:
    """Write the page.

    Args:
        path: The HTML file; an existing one is replaced atomically.
        advice: The content of advice.json.
        split_note: The origin of the splits, in one line.
        steps: To do next.
    """
    write_text(path, render_advice(advice, split_note, steps))


def render_advice(advice: Mapping[str, Any], split_note: str, steps: Sequence[Step] = ()) -> str:
    """Return the page."""
    quadrant, distance = advice["quadrant"], advice["distance"]
    stages = {name: row["val_top1"] for name, row in advice["stages"].items()}
    networks = advice.get("networks")
    content = {
        "advice": advice,
        "next_steps": steps,
        "networks": networks,
        "networks_heading": heading(networks) if networks else "",
        "networks_figure": Markup(networks_figure(networks["networks"], networks["used"])) if networks else "",
        "quadrant": quadrant,
        "evidence": advice["evidence"],
        "table": TABLE,
        "figure": Markup(quadrant_figure(quadrant["large"], quadrant["different"])),
        "depth": Markup(depth_figure(stages, best_stage(advice["stages"]))),
        "distance": Markup(distance_figure(distance["stages"], RULES.distance)) if distance else None,
        "threshold": f"{RULES.distance:.2g}",
        "curve": Markup(curve_figure(advice["learning_curve"])),
        "strategies": _strategies(advice),
        "scores": {SCORE_NAMES[name]: value for name, value in advice["scores"].items()},
        "split_note": split_note,
    }
    return render("advice.html.j2", content, "advisor")


def _strategies(advice: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The table of strategies: those with an expected accuracy first, the rest by cost."""
    expected, costs = advice["quadrant"]["expected_top1"], advice["costs"]
    rest = sorted(set(costs) - set(expected), key=lambda name: costs[name])
    return [{"name": name, "top1": expected.get(name), "cost": costs.get(name)} for name in [*expected, *rest]]
