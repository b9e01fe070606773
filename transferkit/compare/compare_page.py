"""The page of a comparison, `report.html`, in the style of a run's report."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from transferkit.compare.compare_figures import cost_figure, learning_figure, seeds_figure
from transferkit.compare.comparison import Comparison, Part, show_difference, show_uncached
from transferkit.compare.groups import Group, by_images, short_names, show_images, show_spread
from transferkit.compare.variants import show_variant
from transferkit.files import write_text
from transferkit.report.command_text import command_of
from transferkit.report.next_steps import Step
from transferkit.report.render import render


def write_page(path: Path, comparison: Comparison, runs: Any) -> None:
    """Write the page of a comparison of the runs below `runs`."""
    write_text(path, render_page(comparison, runs, path.parent))


def render_page(comparison: Comparison, runs: Any, folder: Path | None = None) -> str:
    """Return the page, with links to the reports of the runs if it is known in which folder it will be."""
    named = f"[{','.join(map(str, runs))}]" if isinstance(runs, list) else runs
    content = {
        "parts": [_part(part, folder) for part in comparison.parts],
        "runs": comparison.runs,
        "groups": sum(len(part.groups) for part in comparison.parts),
        "unfinished": comparison.unfinished,
        "next_steps": next_steps(comparison),
        "command": command_of("task=compare", f"runs={named}"),
    }
    filters = {"spread": show_spread, "images": show_images, "variant": show_variant, "uncached": show_uncached}
    return render("compare.html.j2", content, "compare", **filters)


def next_steps(comparison: Comparison) -> list[Step]:
    """Return what to do with the best group of the only table; runs of several cannot be compared."""
    if len(comparison.parts) != 1 or not comparison.parts[0].groups:
        return []
    best = comparison.parts[0].groups[0]
    run = best.runs[0].folder
    shown = os.path.relpath(run) if run.is_relative_to(Path.cwd()) else str(run)
    text = f"Classify other photographs with {best.label} on {best.network}, the best on val."
    steps = [Step(text, command_of("task=predict", f"run={shown}", "images=DIR"))]
    if len(best.runs) > 1:
        folders = ",".join(os.path.relpath(one.folder) for one in best.runs)
        steps.append(
            Step("Join its seeds: the mean of their probabilities.", command_of("task=fuse", f"runs=[{folders}]"))
        )
    return [*steps, Step("Write it as ONNX, for other programs.", command_of("task=export", f"run={shown}"))]


def _links(group: Group, folder: Path | None) -> list[tuple[int, str]]:
    """Return seed and address, relative to the page, of the report of each run that has one."""
    found = [(run.metrics["seed"], run.folder / "report.html") for run in group.runs] if folder else []
    return [(seed, quote(os.path.relpath(path, folder))) for seed, path in found if path.is_file()]


def _part(part: Part, folder: Path | None) -> dict[str, Any]:
    """Return the template variables of one test set. Cost is drawn only for the most images per class."""
    levels = by_images(part.groups)
    most = next(iter(levels.values()))
    return {
        "title": part.title,
        "groups": part.groups,
        "against": {group: show_difference(part.contest(group), group) for group in part.groups},
        "links": {group: _links(group, folder) for group in part.groups},
        "findings": part.findings(),
        "sentences": part.sentences(),
        "networks": sorted({group.network for group in part.groups}),
        "levels": len(levels),
        "most": show_images(most[0]),
        "repeated": sum(group.repeated for group in part.groups),
        "cost": Markup(cost_figure(most, short_names(most))),
        "seeds": Markup(seeds_figure(part.groups, short_names(part.groups))),
        "learning": Markup(learning_figure(curves(part.groups))) if len(levels) > 1 else None,
    }


def curves(groups: Sequence[Group]) -> Mapping[str, list[Group]]:
    """Return the groups that differ only in the images per class, by a name for the legend."""
    networks = {group.network for group in groups}
    found: dict[str, list[Group]] = {}
    for group in groups:
        name = f"{group.label}, {group.network}" if len(networks) > 1 else group.label
        found.setdefault(name, []).append(group)
    return dict(sorted(found.items()))
