"""Test accuracy of every strategy on small data sets, with two sources, from 5 to all images per class.

    python -m benchmarks.quadrant

Prints the table of docs/quadrant.md: test top-1 of each strategy with its default settings, the loss of strategy=auto
against the best of them, and its cost as a fraction of the cost of all of them, in CPU time, so that other load on the
machine does not count. One seed, one process, fp32 by default.
"""

import argparse
import json
import logging
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.fits import open_case, tested
from benchmarks.textures import write_textures
from transferkit.strategies.registry import fit_strategy

STRATEGIES = [
    *("linear_probe", "stage_probe", "nearest_neighbor", "finetune_few", "finetune_many", "full_finetune", "lp_ft"),
    *("gradual_unfreeze", "surgical", "retrain", "from_scratch", "auto"),
]
SETS = {
    "digits": ["dataset=digits"],
    "glyphs": ["dataset=glyphs", "dataset.images=6000", "dataset.classes=20", "dataset.max_test=600"],
    "fractals": ["dataset=fractals", "dataset.images=6000", "dataset.classes=20", "dataset.max_test=600"],
}
NAMES = [*SETS, "textures"]  # the last is made when it is asked for
PAIRS = [
    *(("digits", "resnet_glyphs"), ("digits", "resnet_fractals")),
    *(("glyphs", "resnet_fractals"), ("fractals", "resnet_glyphs")),
    *(("textures", "resnet_fractals"), ("textures", "resnet_glyphs")),
]


def cases(sets: list[str], per_class: list[str]) -> Iterator[tuple[str, str, str]]:
    """Data set, backbone, labelled images per class."""
    for number in per_class:
        yield from ((data, backbone, number) for data, backbone in PAIRS if data in sets)


def measure(case: tuple[str, str, str], strategy: str, seed: int, overrides: list[str]) -> dict[str, Any]:
    """Fit one strategy as the command line does, and test it."""
    data, backbone, number = case
    per_class = "null" if number == "all" else number
    overrides = [*overrides, f"backbone={backbone}", f"dataset.per_class={per_class}", f"seed={seed}"]
    given = [*overrides, "trainer.num_workers=0", "cache.enabled=false"]
    with tempfile.TemporaryDirectory() as folder:
        context = open_case(strategy, given, Path(folder))
        start = time.process_time()
        fitted = fit_strategy(context)
        seconds = time.process_time() - start
    top1 = tested(context, fitted)["top1"]
    images = context.data
    about = {"data": data, "backbone": backbone, "per_class": number, "train": len(images.train), "strategy": strategy}
    return {**about, "top1": top1, "seconds": seconds, "chosen": fitted.details.get("chosen")}


def row_of(case: tuple[str, str, str], results: list[dict[str, Any]]) -> tuple[str, float | None, float | None]:
    """A line of the table; the loss of auto in points, and its cost as a fraction of that of all strategies."""
    mine = {r["strategy"]: r for r in results}
    others = [r for name, r in mine.items() if name != "auto"]
    best = max(r["top1"] for r in others or mine.values())
    everything = sum(r["seconds"] for r in others)
    shown = [f"**{100 * r['top1']:.1f}**" if r["top1"] == best else f"{100 * r['top1']:.1f}" for r in mine.values()]
    lost = cost = None
    if "auto" in mine and len(mine) > 1:
        lost = 100 * (best - mine["auto"]["top1"])
        cost = mine["auto"]["seconds"] / everything
        shown += [f"{mine['auto']['chosen']}", f"{lost:.1f}", f"{cost:.2f}"]
    return f"| {case[0]} through {case[1]} | {case[2]} | {' | '.join(shown)} |", lost, cost


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=NAMES, choices=NAMES)
    parser.add_argument("--per-class", nargs="+", default=["5", "20", "100", "all"])
    parser.add_argument("--strategies", nargs="+", default=STRATEGIES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", default="fp32", help="trainer.precision")
    parser.add_argument("--out", type=Path, help="gets a line of JSON for each fit")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        if "textures" in options.sets:
            write_textures(Path(folder))
        sets = {**SETS, "textures": ["dataset=folder", f"dataset.root={folder}"]}
        rows = list(run_cases(options, sets))
    measured = [(lost, cost) for lost, cost in rows if lost is not None and cost is not None]
    if measured:
        losses, costs = zip(*measured, strict=True)
        loss, cost = sum(losses) / len(losses), sum(costs) / len(costs)
        print(f"auto: mean loss {loss:.2f} points, mean cost {cost:.2f} of all strategies")


def run_cases(
    options: argparse.Namespace, sets: Mapping[str, list[str]]
) -> Iterator[tuple[float | None, float | None]]:
    """Run and print each case; yield the loss of auto and its cost as a fraction of that of all strategies."""
    print("| case | per class |", " | ".join(options.strategies), "| chosen | loss, points | cost |")
    for case in cases(options.sets, options.per_class):
        overrides, results = [*sets[case[0]], f"trainer.precision={options.precision}"], []
        for strategy in options.strategies:
            results.append(measure(case, strategy, options.seed, overrides))
            if options.out:
                with options.out.open("a", encoding="utf-8") as file:
                    print(json.dumps(results[-1]), file=file)
        line, lost, cost = row_of(case, results)
        print(line, flush=True)
        yield lost, cost


if __name__ == "__main__":
    main()
