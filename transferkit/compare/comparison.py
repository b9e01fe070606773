"""The whole of a comparison, and its three plain forms: lines for the screen, rows for CSV, containers for JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transferkit.compare.collect import FinishedRun, UnfinishedRun
from transferkit.compare.groups import Group, Spread, by_images, make_groups, pareto_front
from transferkit.compare.testsets import part_by_test_set
from transferkit.compare.variants import show_value
from transferkit.report.facts import duration

COLUMNS = (
    *("dataset", "test_images", "test_set", "strategy", "backbone", "weights", "settings", "images_per_class"),
    *("seeds", "test_top1", "test_top1_sd", "test_top1_min", "test_top1_max"),
    *("test_balanced", "test_balanced_sd", "test_balanced_min", "test_balanced_max"),
    *("val_top1", "seconds", "trainable_parameters"),
)


@dataclass(frozen=True)
class Part:
    """What was tested on the same images: one table.

    Attributes:
        dataset: Its name.
        images: Of test.
        number: 1, 2, ... among the parts of the same data set; 0 where there is only one.
        groups: Its rows, in order.
    """

    dataset: str
    images: int
    number: int
    groups: Sequence[Group]

    @property
    def title(self) -> str:
        """Data set, test images, and which of several test sets."""
        which = f", test set {self.number}" if self.number else ""
        return f"{self.dataset}{which}: {self.images:,} test images"

    @property
    def front(self) -> list[Group]:
        """Groups that no other with as many labelled images beats in both accuracy and duration."""
        return [group for level in by_images(self.groups).values() for group in pareto_front(level)]


@dataclass(frozen=True)
class Comparison:
    """Everything that is shown."""

    parts: Sequence[Part]
    unfinished: Sequence[UnfinishedRun]

    @property
    def runs(self) -> int:
        """How many runs count."""
        return sum(len(group.runs) for part in self.parts for group in part.groups)


def compare(finished: Sequence[FinishedRun], unfinished: Sequence[UnfinishedRun]) -> Comparison:
    """Put runs into tables, one a test set."""
    comparables = part_by_test_set(finished)
    names = [comparable.dataset for comparable in comparables]
    parts = [
        Part(
            comparable.dataset,
            comparable.images,
            names[: i + 1].count(comparable.dataset) if names.count(comparable.dataset) > 1 else 0,
            make_groups(comparable),
        )
        for i, comparable in enumerate(comparables)
    ]
    return Comparison(parts, unfinished)


def show_spread(spread: Spread) -> str:
    """Write percent: `97.2 ± 0.3` (sample standard deviation), `97.0 – 97.4` in brackets for two, bare for one."""
    mean = f"{100 * spread.mean:.1f}"
    if spread.deviation is not None:
        return f"{mean} ± {100 * spread.deviation:.1f}"
    return mean if spread.n == 1 else f"{mean} ({100 * spread.low:.1f} – {100 * spread.high:.1f})"


def show_images(group: Group) -> str:
    """Write the labelled images of an average class."""
    return "?" if group.per_class is None else f"{group.per_class:.0f}"


def screen(comparison: Comparison) -> str:
    """Return aligned tables, one a test set, and what did not finish."""
    header = ["strategy", "backbone", "images/class", "seeds", "test top-1, %", "balanced, %", "val top-1, %", "time"]
    lines = []
    for part in comparison.parts:
        front = part.front
        rows = [
            [
                ("* " if group in front else "  ") + group.label,
                group.network,
                show_images(group),
                str(len(group.runs)),
                show_spread(group.top1),
                show_spread(group.balanced),
                f"{100 * group.val_top1:.1f}",
                duration(group.seconds),
            ]
            for group in part.groups
        ]
        lines += ["", part.title, *_aligned([["  " + header[0], *header[1:]], *rows])]
    lines.append("* none with as many images is both quicker and better")
    if comparison.unfinished:
        lines += ["", f"Left out, not done ({len(comparison.unfinished)}):"]
        lines += [f"  {run.folder.name}: {run.status}, {run.reason}" for run in comparison.unfinished]
    return "\n".join(lines)


def csv_rows(comparison: Comparison) -> list[list[object]]:
    """Return a row a group, in the order of `COLUMNS`; fractions in [0, 1], seconds; empty where there is no value."""
    return [
        [
            *(part.dataset, part.images, part.number or 1, group.strategy, group.backbone, group.weights),
            " ".join(f"{key}={show_value(value)}" for key, value in group.variant.items()),
            "" if group.per_class is None else round(group.per_class, 1),
            len(group.runs),
            *_figures(group.top1),
            *_figures(group.balanced),
            group.val_top1,
            group.seconds,
            group.trainable_parameters,
        ]
        for part in comparison.parts
        for group in part.groups
    ]


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Return everything as plain containers, down to the single runs."""
    return {
        "test_sets": [
            {
                "dataset": part.dataset,
                "test_images": part.images,
                "test_set": part.number or 1,
                "groups": [_group_as_json(group) for group in part.groups],
                "pareto_front": [i for i, group in enumerate(part.groups) if group in part.front],
            }
            for part in comparison.parts
        ],
        "unfinished": [
            {"folder": str(run.folder), "status": str(run.status), "reason": run.reason}
            for run in comparison.unfinished
        ],
    }


def _group_as_json(group: Group) -> dict[str, Any]:
    return {
        "strategy": group.strategy,
        "backbone": group.backbone,
        "weights": group.weights,
        "settings": group.variant,
        "images_per_class": group.per_class,
        "test_top1": asdict(group.top1),
        "test_balanced_accuracy": asdict(group.balanced),
        "val_top1": group.val_top1,
        "seconds": group.seconds,
        "trainable_parameters": group.trainable_parameters,
        "repeated_runs": group.repeated,
        "runs": [
            {
                "folder": str(run.folder),
                "seed": run.metrics["seed"],
                "test_top1": run.metrics["test"]["top1"],
                "val_top1": run.metrics["val"]["top1"],
                "seconds": run.metrics["seconds"]["total"],
            }
            for run in group.runs
        ],
    }


def _figures(spread: Spread) -> list[object]:
    return [spread.mean, "" if spread.deviation is None else spread.deviation, spread.low, spread.high]


def _aligned(rows: Sequence[Sequence[str]], left: int = 2) -> list[str]:
    """Return lines with columns of equal width, the first `left` of them left-aligned, two spaces in between."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def folders(runs: Any) -> list[Path]:
    """Return what `runs=` names: a folder, or a list of folders."""
    return [Path(str(one)).expanduser() for one in (runs if isinstance(runs, list) else [runs])]
