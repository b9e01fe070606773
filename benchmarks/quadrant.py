"""Test accuracy of every strategy on small data sets, with two sources, from 5 to all images per class.

    python -m benchmarks.quadrant                                    one seed; hours on one core
    python -m benchmarks.quadrant --sets digits --per-class 100 --seeds 2
    python -m benchmarks.quadrant --quick                            one small case: only checks that it runs

Prints the table of docs/quadrant.md: test top-1 of each strategy with its default settings, the loss of strategy=auto
against the best of them, and its cost as a fraction of the cost of all of them, in CPU time, so that other load on the
machine does not count. In one process, fp32 by default. Each fit is a line of JSON in `--out`; what is there already is
not repeated, so a stopped benchmark goes on. Further words are transferkit's overrides, for all strategies.
"""

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.fits import open_case, tested
from benchmarks.records import Case, Record, complete, folder_of, make_case, parsed, parser_of
from benchmarks.textures import write_textures
from transferkit.strategies.registry import fit_strategy

AUTO = "auto"
STRATEGIES = [
    *("linear_probe", "stage_probe", "nearest_neighbor", "concat_probe", "finetune_few", "finetune_many"),
    *("full_finetune", "lp_ft", "gradual_unfreeze", "surgical", "retrain", "from_scratch", AUTO),
]
SETS = {
    "digits": ["dataset=digits"],
    "glyphs": ["dataset=glyphs", "dataset.images=6000", "dataset.classes=20", "dataset.max_test=600"],
    "fractals": ["dataset=fractals", "dataset.images=6000", "dataset.classes=20", "dataset.max_test=600"],
}
TEXTURES = "textures"  # made when they are asked for
PAIRS = [
    *(("digits", "resnet_glyphs"), ("digits", "resnet_fractals")),
    *(("glyphs", "resnet_fractals"), ("fractals", "resnet_glyphs")),
    *((TEXTURES, "resnet_fractals"), (TEXTURES, "resnet_glyphs")),
]


def cases(options: argparse.Namespace) -> Iterator[Case]:
    """Everything that these options ask for; the method is the data set through the network."""
    for seed in range(options.seeds):
        for per_class in options.per_class:
            for data, backbone in PAIRS:
                for strategy in options.strategies if data in options.sets else ():
                    common = (f"backbone={backbone}", f"trainer.precision={options.precision}")
                    own = (*SETS.get(data, ()), *common, *options.overrides)
                    yield make_case(strategy, f"{data} through {backbone}", per_class, seed, own)


def make_textures(folder: Path) -> None:
    """Write the textures, whole or not at all: a fit that was stopped goes on with the same folder."""
    if not folder.exists():
        begun = folder.with_suffix(".partial")
        write_textures(begun)
        begun.rename(folder)


def measure(case: Case, options: argparse.Namespace) -> Record:
    """Fit one strategy as the command line does, and test it; a fit that was stopped goes on."""
    data = case.method.split()[0]
    made = (
        ("dataset=folder", f"dataset.root={options.out / TEXTURES}", "dataset.max_test=600") if data == TEXTURES else ()
    )
    overrides = (*made, *case.overrides, "trainer.num_workers=0", "cache.enabled=false")
    context = open_case(case.strategy, overrides, folder_of(options.out, case.strategy, case.method, *case.overrides))
    clock, cpu = time.perf_counter(), time.process_time()
    fitted = fit_strategy(context)
    seconds, cpu = time.perf_counter() - clock, time.process_time() - cpu
    about = {"train": len(context.data.train), "chosen": fitted.details.get("chosen")}
    return {"top1": tested(context, fitted)["top1"], "seconds": seconds, "cpu": cpu, **about}


def table(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each data set, network and number of images, with means over the seeds; then the means of auto."""
    names = list(dict.fromkeys(r["strategy"] for r in records))
    lines = [f"| target through source | per class | {' | '.join(names)} | chosen | loss | cost |"]
    lines.append("|---" * (len(names) + 5) + "|")
    compared: list[tuple[float, float]] = []
    for per_class, method in dict.fromkeys((r["per_class"], r["method"]) for r in records):
        mine = [r for r in records if (r["per_class"], r["method"]) == (per_class, method)]
        means = {name: fmean(r["top1"] for r in mine if r["strategy"] == name) for name in names if _has(mine, name)}
        best = max((top1 for name, top1 in means.items() if name != AUTO), default=None)
        pairs = list(_losses(mine))
        losses, costs = zip(*pairs, strict=True) if pairs else ((), ())
        compared += pairs
        cells = [_cell(means.get(name), bold=name != AUTO and means.get(name) == best) for name in names]
        chosen = ", ".join(dict.fromkeys(f"`{r['chosen']}`" for r in mine if r["strategy"] == AUTO))
        ends = [f"{fmean(losses):.1f}", f"{fmean(costs):.2f}"] if pairs else ["", ""]
        lines.append(f"| {method} | {per_class} | {' | '.join(cells)} | {chosen} | {' | '.join(ends)} |")
    if compared:
        losses, costs = zip(*compared, strict=True)
        lines.append(
            f"\nauto: mean loss {fmean(losses):.2f} points, worst {max(losses):.1f}, mean cost {fmean(costs):.2f}"
        )
    return lines


def _has(records: Sequence[Mapping[str, Any]], strategy: str) -> bool:
    return any(r["strategy"] == strategy for r in records)


def _cell(top1: float | None, *, bold: bool) -> str:
    shown = "" if top1 is None else f"{100 * top1:.1f}"
    return f"**{shown}**" if bold else shown


def _losses(records: Sequence[Mapping[str, Any]]) -> Iterator[tuple[float, float]]:
    """For each seed the loss of auto in points against the best other strategy, and its cost as a share of theirs."""
    for seed in dict.fromkeys(r["seed"] for r in records):
        mine = {r["strategy"]: r for r in records if r["seed"] == seed}
        others = [r for name, r in mine.items() if name != AUTO]
        if AUTO in mine and others:
            best, everything = max(r["top1"] for r in others), sum(r["cpu"] for r in others)
            yield 100 * (best - mine[AUTO]["top1"]), mine[AUTO]["cpu"] / everything


def main() -> None:
    parser = parser_of(__doc__, "quadrant")
    sets = [*SETS, TEXTURES]
    parser.add_argument("--sets", nargs="+", default=sets, choices=sets)
    parser.add_argument("--strategies", nargs="+", default=STRATEGIES)
    parser.add_argument("--precision", default="fp32", help="trainer.precision")
    parser.set_defaults(per_class=["5", "20", "100", "all"], seeds=1)
    options = parsed(parser)
    if options.quick:
        options.sets, options.per_class, options.strategies = ["digits"], ["5"], ["linear_probe", AUTO]
    if TEXTURES in options.sets and not options.table_only:
        make_textures(options.out / TEXTURES)
    records = complete(
        options.out / "fits.jsonl", cases(options), partial(measure, options=options), only_read=options.table_only
    )
    print("\n".join(table(records)))


if __name__ == "__main__":
    main()
