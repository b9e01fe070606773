"""The page and the table of a run, of any target."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from transferkit.files import write_csv, write_text
from transferkit.report.command_text import command_of
from transferkit.report.facts import Score, judged_on, plural, show_score
from transferkit.report.figures import INK, LINES, SUPERSCRIPT, Sweep, new_figure, to_svg
from transferkit.report.next_steps import Step
from transferkit.report.parts_by_target import PARTS
from transferkit.report.render import render
from transferkit.report.run_files import write_predictions
from transferkit.report.run_page import common_content, write_report
from transferkit.report.run_result import RunResult
from transferkit.report.target_parts import Parts, Section, image_rows, shown_figure
from transferkit.targets.target import LabelRows, Outputs, Target


def write_outputs(path: Path, names: Sequence[str], labels: LabelRows, outputs: Outputs, target: Target) -> None:
    """Write one row per test image: path or index, true label, prediction, and probabilities where there are any.

    Of classes it is the table of `run_files.write_predictions`.
    """
    if target.kind not in PARTS:
        write_predictions(path, names, labels, outputs, target.names)
        return
    header, rows = image_rows(PARTS[target.kind], target, labels, outputs)
    write_csv(path, ["image", *header], ([name, *row] for name, row in zip(names, rows, strict=True)))


def write_page(path: Path, result: RunResult) -> None:
    """Write the report of a run as one HTML file, atomically; an existing one is replaced."""
    if result.target.kind not in PARTS:
        write_report(path, result)
        return
    write_text(path, render("target_report.html.j2", target_content(result)))


def target_content(result: RunResult) -> dict[str, Any]:
    """Return the variables of the template."""
    parts, metrics = PARTS[result.target.kind], result.metrics
    test, main = metrics["test"], parts.figures[0]
    words = f"{main.name} {shown_figure(parts, test)}"
    others = [f"{figure.name.lower()} {show_score(test[figure.key], figure.format)}" for figure in parts.figures[1:3]]
    sections, common = [*parts.sections(result), *_choices(result, parts)], common_content(result)
    nav = [("next", "Next steps"), ("results", "Results"), *((section.id, section.heading) for section in sections)]
    nav += [("training", "Training" if common["training"] else ""), ("data", "Data"), ("cost", "Cost")]
    use = Step("Predict other images.", command_of("task=predict", f"run={result.run}", "images=DIR"))
    return {
        **common,
        "nav": [*nav, ("again", "Reproduce")],
        "next_steps": [use],
        "title": f"{words} on {metrics['dataset']}",
        "result": shown_figure(parts, test),
        "heading": f"{main.name[0].lower()}{main.name[1:]} on {plural(test['n'], 'test image')}",
        "lead": f"Also on test: {' and '.join(others)}. The model predicts {result.target.words()}.",
        "scores": target_scores(parts, metrics),
        "sections": sections,
        "sizes": result.sizes,
        "depth": None,
        "sweep": None,
        "imagenet_names": {},
    }


def target_scores(parts: Parts, metrics: Mapping[str, Any]) -> list[Score]:
    """Return the table of results, with the splits that were measured."""
    splits = [split for split in ("val", "test") if split in metrics]
    return [
        Score(figure.format, figure.name, figure.meaning, {split: metrics[split][figure.key] for split in splits})
        for figure in parts.figures
    ]


def _choices(result: RunResult, parts: Parts) -> list[Section]:
    """The stages that were tried, and the loss over C."""
    stages, main, sections = result.metrics.get("stages", {}), parts.figures[0], []
    where = "on val" if judged_on(result.metrics) == "val" else "out of fold"
    tried = {name: row for name, row in stages.items() if f"val_{main.key}" in row}
    if len(tried) > 1:
        rows = [
            [
                f"{name} (selected)" if name == result.metrics.get("stage") else name,
                str(row["features"]),
                show_score(row[f"val_{main.key}"], main.format),
                show_score(row["val_loss"], "nll"),
            ]
            for name, row in tried.items()
        ]
        text = f"A probe on each stage of the network; the lowest loss {where} was selected."
        sections.append(
            Section("stages", "Stages", text, header=["Stage", "Features", f"{main.name} {where}", "Loss"], rows=rows)
        )
    if any(len(rows) > 1 for rows in result.sweep.values()):
        text = (
            "C is the inverse regularisation strength of the linear probe. Each label or value has a C of its own, the "
            f"one with the lowest loss {where}; drawn is the mean loss of all."
        )
        sections.append(Section("choice", "Regularisation", text, [Markup(loss_sweep_figure(result.sweep, where))]))
    return sections


def loss_sweep_figure(sweep: Sweep, where: str) -> str:
    """Draw the loss over C, one line per stage."""
    with new_figure(4.9, 2.8) as (figure, axes):
        for (stage, rows), colour in zip(sweep.items(), LINES * len(sweep), strict=False):
            axes.plot([row["C"] for row in rows], [row["val_loss"] for row in rows], color=colour, label=stage)
        axes.set(xscale="log", xlabel="C (larger: weaker regularisation)", ylabel=f"loss {where}")
        axes.xaxis.set_major_formatter(lambda C, _: "10" + f"{round(math.log10(C))}".translate(SUPERSCRIPT))
        if len(sweep) > 1:
            axes.legend(frameon=False, labelcolor=INK, ncols=2)
        return to_svg(figure, "Loss over the regularisation strength C")
