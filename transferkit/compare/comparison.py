"""A comparison of runs, and its three forms: a table for the screen, rows for CSV, containers for JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transferkit.compare.collect import FinishedRun, UnfinishedRun
from transferkit.compare.groups import (
    Group,
    Spread,
    by_images,
    make_groups,
    pareto_front,
    short_names,
    show_images,
    show_spread,
    uncached_seconds,
)
from transferkit.compare.headline import headline
from transferkit.compare.testsets import part_by_test_set
from transferkit.compare.variants import show_value
from transferkit.compare.winner import Contest, hold_contests
from transferkit.errors import shown_text
from transferkit.report.facts import duration

COLUMNS = (
    *("dataset", "test_images", "test_set", "strategy", "backbone", "weights", "settings", "images_per_class"),
    *("seeds", "test_top1", "test_top1_sd", "test_top1_min", "test_top1_max"),
    *("test_balanced", "test_balanced_sd", "test_balanced_min", "test_balanced_max"),
    *("val_top1", "seconds", "seconds_uncached", "trainable_parameters"),
    *("verdict", "against_best", "against_best_low", "against_best_high", "only_this_right", "only_best_right"),
    *("p", "p_adjusted"),
)


@dataclass(frozen=True)
class Part:
    """Runs with the same test images: one table.

    Attributes:
        dataset: Its name.
        images: Number of test images.
        number: 1, 2, ... among the parts of the same data set; 0 if there is only one.
        groups: Its rows, in order.
        contests: Who won, for each number of images per class.
    """

    dataset: str
    images: int
    number: int
    groups: Sequence[Group]
    contests: Sequence[Contest] = ()

    @property
    def title(self) -> str:
        """Data set, number of the test set if there are several, and number of test images."""
        which = f", test set {self.number}" if self.number else ""
        return f"{self.dataset}{which}: {self.images:,} test images"

    @property
    def front(self) -> list[Group]:
        """Pareto-optimal groups: no other with the same number of images is both faster and more accurate."""
        return [group for level in by_images(self.groups).values() for group in pareto_front(level)]

    def contest(self, group: Group) -> Contest:
        """The contest that a group took part in."""
        return next(contest for contest in self.contests if group is contest.best or group in contest.others)

    def findings(self) -> list[str]:
        """The best group, and a cheaper one that is as good, for each number of images per class with several."""
        return [line for contest in self.contests if (line := headline(contest))]

    def sentences(self) -> list[str]:
        """The winner, or that there is none, for each number of images per class with several groups."""
        names, several = short_names(self.groups), len(self.contests) > 1
        return [
            (f"{show_images(contest.best)} images per class: " if several else "") + said
            for contest in self.contests
            if (said := contest.sentence(names))
        ]


@dataclass(frozen=True)
class Comparison:
    """The tables, and the runs that are not in them."""

    parts: Sequence[Part]
    unfinished: Sequence[UnfinishedRun]

    @property
    def runs(self) -> int:
        """Number of runs in the tables."""
        return sum(len(group.runs) for part in self.parts for group in part.groups)


def compare(
    finished: Sequence[FinishedRun], unfinished: Sequence[UnfinishedRun], confidence: float = 0.95
) -> Comparison:
    """Sort runs into tables, one per test set, and test the differences with this confidence."""
    comparables = part_by_test_set(finished)
    names = [comparable.dataset for comparable in comparables]
    parts = []
    for i, comparable in enumerate(comparables):
        number = names[: i + 1].count(comparable.dataset) if names.count(comparable.dataset) > 1 else 0
        groups = make_groups(comparable)
        contests = hold_contests(groups, comparable.images, confidence)
        parts.append(Part(comparable.dataset, comparable.images, number, groups, contests))
    return Comparison(parts, unfinished)


def show_difference(contest: Contest, group: Group) -> str:
    """Write the difference from the best in points, with its interval: `-1.4 (-2.9 – 0.1)`."""
    found = contest.others.get(group)
    if found is None:
        return {"winner": "winner", "best": "best"}.get(contest.verdict(group), "")
    worse = " worse" if contest.verdict(group) == "worse" else ""
    return f"{100 * found.mean:+.1f} ({100 * found.low:+.1f} – {100 * found.high:+.1f}){worse}"


def show_uncached(group: Group) -> str:
    """Write the duration without a cache."""
    return "?" if group.uncached_seconds is None else duration(group.uncached_seconds)


def screen(comparison: Comparison) -> str:
    """Return aligned tables, one per test set, and the unfinished runs."""
    header = ["strategy", "backbone", "images/class", "seeds", "test top-1, %", "against the best", "balanced, %"]
    header += ["val top-1, %", "time", "uncached"]
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
                show_difference(part.contest(group), group),
                show_spread(group.balanced),
                f"{100 * group.val_top1:.1f}",
                duration(group.seconds),
                show_uncached(group),
            ]
            for group in part.groups
        ]
        found = part.findings()
        lines += ["", part.title, *found, *([""] if found else []), *_aligned([["  " + header[0], *header[1:]], *rows])]
        lines += [f"  {group.label}: {group.not_finetuned}" for group in part.groups if group.not_finetuned]
        lines += [f"  {sentence}" for sentence in part.sentences()]
    lines.append("* Pareto-optimal: no group with the same number of images is both faster and more accurate")
    lines.append("uncached: the time of a run that finds no features in the cache; it decides what is faster")
    if comparison.unfinished:
        lines += ["", f"Unfinished runs, not included ({len(comparison.unfinished)}):"]
        lines += [f"  {shown_text(run.folder.name)}: {run.status}, {run.reason}" for run in comparison.unfinished]
    return "\n".join(lines)


def csv_rows(comparison: Comparison) -> list[list[object]]:
    """Return one row per group, in the order of `COLUMNS`; fractions in [0, 1], seconds; empty if missing."""
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
            _cell(group.uncached_seconds),
            group.trainable_parameters,
            *_contest_cells(part.contest(group), group),
        ]
        for part in comparison.parts
        for group in part.groups
    ]


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison as plain containers, including the single runs."""
    return {
        "test_sets": [
            {
                "dataset": part.dataset,
                "test_images": part.images,
                "test_set": part.number or 1,
                "groups": [_group_as_json(part.contest(group), group) for group in part.groups],
                "finding": part.findings(),
                "result": part.sentences(),
                "pareto_front": [i for i, group in enumerate(part.groups) if group in part.front],
            }
            for part in comparison.parts
        ],
        "unfinished": [
            {"folder": str(run.folder), "status": str(run.status), "reason": run.reason}
            for run in comparison.unfinished
        ],
    }


def _group_as_json(contest: Contest, group: Group) -> dict[str, Any]:
    found = contest.others.get(group)
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
        "seconds_uncached": group.uncached_seconds,
        "verdict": contest.verdict(group) or None,
        "against_best": None if found is None else {**asdict(found), "p_adjusted": contest.adjusted[group]},
        "trainable_parameters": group.trainable_parameters,
        "not_finetuned": group.not_finetuned or None,
        "repeated_runs": group.repeated,
        "runs": [
            {
                "folder": str(run.folder),
                "seed": run.metrics["seed"],
                "test_top1": run.metrics["test"]["top1"],
                "val_top1": run.metrics["val"]["top1"],
                "seconds": run.metrics["seconds"]["total"],
                "seconds_uncached": uncached_seconds(run),
            }
            for run in group.runs
        ],
    }


def _contest_cells(contest: Contest, group: Group) -> list[object]:
    found = contest.others.get(group)
    if found is None:
        return [contest.verdict(group), *[""] * 7]
    figures = found.mean, found.low, found.high, found.only_first, found.only_second, found.p
    return [contest.verdict(group), *figures, contest.adjusted[group]]


def _figures(spread: Spread) -> list[object]:
    return [spread.mean, _cell(spread.deviation), spread.low, spread.high]


def _cell(value: float | None) -> object:
    return "" if value is None else value


def _aligned(rows: Sequence[Sequence[str]], left: int = 2) -> list[str]:
    """Return lines with columns of equal width, the first `left` of them left-aligned, separated by two spaces."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def folders(runs: Any) -> list[Path]:
    """Return the folders of `runs=`, which is a folder or a list of folders."""
    return [Path(str(one)).expanduser() for one in (runs if isinstance(runs, list) else [runs])]
