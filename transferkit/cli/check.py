"""task=check: duplicates, suspected label errors, outliers, odd images and classes of a data set."""

import logging
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transferkit.cli.prepare import prepare
from transferkit.features.from_settings import make_extractor
from transferkit.files import write_json
from transferkit.quality.check_page import write_check_page
from transferkit.quality.check_text import count_lines, weak_probe
from transferkit.quality.find_problems import find_problems
from transferkit.quality.label_errors import INSTALL, look_for_label_errors
from transferkit.quality.problems import write_problems
from transferkit.report.command_text import command_line, command_of, kept_arguments
from transferkit.report.facts import plural
from transferkit.report.next_steps import Step
from transferkit.report.run_files import shown_path
from transferkit.timing import StepTimer

log = logging.getLogger(__name__)

COPIES = ("duplicate", "near_duplicate")
"""Kinds of problems that can be left out without a closer look."""


def main(settings: Mapping[str, Any], run_dir: Path) -> None:
    """Look for problems; nothing is removed.

    Args:
        settings: The resolved configuration.
        run_dir: Gets `problems.csv`, `check.html` and `check.json`.

    Raises:
        TransferkitError: Label errors are to be looked for, and cleanlab is not installed.
    """
    task = settings["task"] | {"labels": look_for_label_errors(settings["task"]["labels"])}
    settings = {**settings, "task": task}
    timer = StepTimer()
    data, backbone = prepare(settings, run_dir, timer)
    with timer.step("check"):
        checked = find_problems(backbone, data, settings, make_extractor(settings))
    counts = {kind: row for kind, row in checked.counts().items() if task["labels"] or kind != "label"}
    content = {
        "dataset": data.name,
        "num_classes": len(data.class_names),
        "images": {name: len(images) for name, images in data.splits.items()},
        "backbone": backbone.spec.name,
        "weights": backbone.weights_name,
        "stage": backbone.top,
        "seed": settings["seed"],
        "command": command_line(),
        "labels_checked": task["labels"],
        "counts": counts,
        **checked.facts,
        "data": data.facts(),
        "split_note": data.split_note,
        "seconds": timer.seconds(),
    }
    write_problems(run_dir / "problems.csv", checked.problems, checked.images)
    write_json(run_dir / "check.json", content)
    write_check_page(
        run_dir / "check.html", checked, content, task["pictures"], next_steps(counts, shown_path(run_dir))
    )
    title = f"{data.name}: {len(checked.images):,} images, {len(data.class_names)} classes; "
    title += f"{backbone.spec.name} ({backbone.weights_name})"
    shown = shown_path(run_dir)
    weak = weak_probe(checked.facts["probe"]["out_of_fold_top1"], counts)
    lines = [f"\n{title}", "  Candidates for a closer look; nothing was removed.\n", *count_lines(counts)]
    lines += [f"\n{textwrap.fill(weak, 98, initial_indent='  ', subsequent_indent='  ')}"] if weak else []
    lines += [] if task["labels"] else [f"\n  Label errors were not looked for: {INSTALL}"]
    lines += [f"\n  time              {timer.seconds()['total']:.1f} s", f"  page              {shown / 'check.html'}"]
    lines += [f"  table             {shown / 'problems.csv'}"]
    if any(counts[kind]["all"] for kind in COPIES if kind in counts):
        lines += [f"  leave copies out  {fit_command(shown / 'problems.csv')}"]
    log.info("%s", "\n".join(lines))


def next_steps(counts: Mapping[str, Mapping[str, int]], run_dir: Path) -> list[Step]:
    """Return what to do after a check.

    Args:
        counts: Kind to the number of problems by split and of all.
        run_dir: Where the table is.
    """
    steps = []
    labels = counts.get("label", {}).get("all", 0)
    if labels:
        text = f"Look at the {plural(labels, 'suspected label error')} below; correct what is wrong, and check again."
        steps.append(Step(text, command_line()))
    if any(counts[kind]["all"] for kind in COPIES if kind in counts):
        steps.append(Step("Fit without the copies.", fit_command(run_dir / "problems.csv")))
    kept = kept_arguments("task=", "task.", "hydra.")
    return [*steps, Step("Measure what which strategy would bring.", command_of("task=advise", *kept))]


def fit_command(table: Path) -> str:
    """The command line that fits the same data without the copies of the table."""
    kept = kept_arguments("task=", "task.", "hydra.")
    return command_of(*kept, f"dataset.exclude={table}", f"dataset.exclude_kinds=[{','.join(COPIES)}]")
