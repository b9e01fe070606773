"""Measurements as lines of JSON, so that a stopped benchmark goes on, and what their tables share."""

import argparse
import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

Record = dict[str, Any]


class Case(NamedTuple):
    """One measurement.

    Attributes:
        strategy: Of transferkit.
        method: What is compared, in the words of the table.
        per_class: Training images of a class, or "all".
        seed: Of data and fit.
        overrides: All of transferkit's overrides.
    """

    strategy: str
    method: str
    per_class: str
    seed: int
    overrides: tuple[str, ...]

    @property
    def key(self) -> tuple[str, ...]:
        """The words by which a measurement is recognised."""
        return (self.strategy, self.method, *self.overrides)


def make_case(strategy: str, method: str, per_class: str, seed: int, overrides: Iterable[str]) -> Case:
    """Return the case with the overrides for its images and its seed."""
    size = "null" if per_class == "all" else per_class
    own = (f"dataset.per_class={size}", f"seed={seed}", "calibrate.temperature=false")
    return Case(strategy, method, per_class, seed, (*own, *overrides))


def folder_of(out: Path, *words: str) -> Path:
    """Return the folder of a fit that these words describe; a stopped one goes on there."""
    return out / "unfinished" / hashlib.sha256(" ".join(words).encode()).hexdigest()[:16]


def complete(path: Path, cases: Iterable[Case], measure: Callable[[Case], Record], *, only_read: bool) -> list[Record]:
    """Measure what a file of lines lacks, printing each result; return the records of these cases.

    Args:
        path: The file.
        cases: What is wanted.
        measure: Returns `top1`, `seconds` and further figures.
        only_read: Whether to leave out what is missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    done: dict[tuple[str, ...], Record] = {
        (record["strategy"], record["method"], *record["overrides"]): record for record in map(json.loads, lines)
    }
    records: list[Record] = []
    for case in cases:
        if case.key not in done and not only_read:
            done[case.key] = {**case._asdict(), **measure(case)}
            with path.open("a", encoding="utf-8") as file:
                print(json.dumps(done[case.key]), file=file)
            found = done[case.key]
            shown = f"{100 * found['top1']:.1f} % in {found['seconds']:.0f} s"
            print(f"{case.per_class} a class, seed {case.seed}, {case.strategy}, {case.method}: {shown}", flush=True)
        records += [done[case.key]] if case.key in done else []
    return records


def by_method(records: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, list[Record], dict[Any, Record]]]:
    """Yield images per class, method, its records, and all records of as many images by method and seed."""
    for per_class in dict.fromkeys(r["per_class"] for r in records):
        mine = {(r["method"], r["seed"]): dict(r) for r in records if r["per_class"] == per_class}
        for method in dict.fromkeys(name for name, _ in mine):
            yield per_class, method, [row for (name, _), row in mine.items() if name == method], mine


def gains_over(
    reference: str, rows: Sequence[Mapping[str, Any]], every: Mapping[Any, Mapping[str, Any]]
) -> list[float]:
    """Return the differences in top-1, in points, from a reference of the same seed, where that was measured."""
    pairs = [(row, every.get((reference, row["seed"]))) for row in rows]
    return [100 * (row["top1"] - other["top1"]) for row, other in pairs if other]


def with_error(values: Sequence[float]) -> str:
    """Return the mean of differences in points with its standard error."""
    if not values:
        return "-"
    error = f" ± {stdev(values) / len(values) ** 0.5:.1f}" if len(values) > 1 else ""
    return f"{fmean(values):+.1f}{error}"


def percent(rows: Sequence[Mapping[str, Any]], key: str = "top1") -> str:
    """Return the mean of a share in percent."""
    return f"{100 * fmean(row[key] for row in rows):.1f}"


def parser_of(doc: str | None, out: str) -> argparse.ArgumentParser:
    """Return the parser of the options that all of these benchmarks have."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--per-class", nargs="+", default=["20"], help="training images of a class, or all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs") / out)
    parser.add_argument("--table-only", action="store_true")
    parser.add_argument("--quick", action="store_true", help="one seed, one epoch; the figures mean nothing")
    parser.add_argument("overrides", nargs="*", help="of transferkit's configuration")
    return parser


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Return the options of the command line; warnings of transferkit are off."""
    options = parser.parse_intermixed_args()
    if options.quick:
        options.seeds, options.out = 1, options.out / "quick"
    logging.disable(logging.WARNING)
    return options


QUICK = ("selection=last", "strategy.phases.all.epochs=1", "strategy.phases.all.min_steps=0")
"""Overrides of `--quick`, for strategies with a phase called all."""
