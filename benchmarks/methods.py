"""The gain of each training method over the plain recipe, on the same images and seeds.

    python -m benchmarks.methods                                        lp_ft on digits, 20 images a class, three seeds
    python -m benchmarks.methods --quick                                one seed, one epoch: only checks that it runs
    python -m benchmarks.methods --methods l2_sp wise_ft --per-class 5 all
    python -m benchmarks.methods dataset=folder dataset.root=photos backbone=efficientnet_lite0

Each fit is a line of JSON in `--out`; what is there already is not repeated, so a stopped benchmark goes on, and other
seeds or methods can be added later. Further words are transferkit's overrides, for all methods. The table has the mean
of the test top-1 over the seeds, and of its differences from the plain recipe with their standard error.
"""

import argparse
import hashlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from benchmarks.fits import open_case, tested
from transferkit.strategies.registry import fit_strategy

PLAIN = "plain"
SCRATCH = "from_scratch"
METHODS: dict[str, tuple[str, ...]] = {
    PLAIN: (),
    "l2_sp": ("strategy.l2_sp.alpha=0.1",),
    "wise_ft": ("strategy.wise_ft=auto",),
    "swa": ("strategy.swa.start=0.75",),
    "ema": ("strategy.ema=0.99",),
    "lr_decay": ("+strategy.phases.all.lr_decay=0.75",),
    "distill probe": ("strategy.distill.teacher=probe",),
    "dropout": ("strategy.head_dropout=0.5",),
    "mixup": ("strategy.mixup=0.2",),
    "cutmix": ("strategy.cutmix=1.0",),
    **{name: (f"optimizer={name}",) for name in ("sgd", "nesterov", "lamb", "lion", "muon")},
    **{f"schedule {name}": (f"schedule={name}",) for name in ("cosine", "linear", "cosine_restarts", "constant")},
    **{name: (f"augment={name}",) for name in ("affine", "scale", "rotate", "trivial_augment", "random_erasing")},
    SCRATCH: (),
    **{
        f"{SCRATCH} {name}": (f"strategy.network_init={name}",)
        for name in ("gaussian", "xavier", "he", "orthogonal", "lsuv", "random_walk")
    },
}
"""Name to the overrides that make it; those from scratch are compared with `from_scratch`."""

Record = dict[str, Any]


def reference(method: str) -> str:
    """The method that another is compared with."""
    return SCRATCH if method.startswith(SCRATCH) else PLAIN


def overrides_of(method: str, per_class: str, seed: int, options: argparse.Namespace) -> list[str]:
    """All overrides of a fit."""
    size = "null" if per_class == "all" else per_class
    given = [f"dataset.per_class={size}", f"seed={seed}", "calibrate.temperature=false", *METHODS[method]]
    if options.quick:
        given += ["selection=last", "strategy.phases.all.epochs=1", "strategy.phases.all.min_steps=0"]
    return [*given, *options.overrides]


def measure(method: str, per_class: str, seed: int, options: argparse.Namespace) -> Record:
    """Fit and test one method; a fit that was stopped goes on."""
    given = overrides_of(method, per_class, seed, options)
    folder = options.out / "unfinished" / hashlib.sha256(" ".join([method, *given]).encode()).hexdigest()[:16]
    clock, cpu = time.perf_counter(), time.process_time()
    context = open_case(SCRATCH if reference(method) == SCRATCH else options.strategy, given, folder)
    fitted = fit_strategy(context)
    figures = tested(context, fitted)
    return {
        **{"method": method, "per_class": per_class, "seed": seed, "overrides": given, "strategy": options.strategy},
        **{"top1": figures["top1"], "nll": figures["nll"], "wise_ft": fitted.details.get("wise_ft")},
        **{"seconds": time.perf_counter() - clock, "cpu": time.process_time() - cpu},
    }


def run_all(options: argparse.Namespace) -> list[Record]:
    """Measure what is missing, printing each result; return what belongs to these options."""
    path = options.out / "fits.jsonl"
    options.out.mkdir(parents=True, exist_ok=True)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    done = {(r["strategy"], r["method"], *r["overrides"]): r for r in map(json.loads, lines)}
    records: list[Record] = []
    for seed in range(options.seeds):
        for per_class in options.per_class:
            for method in options.methods:
                key = (options.strategy, method, *overrides_of(method, per_class, seed, options))
                if key not in done and not options.table_only:
                    done[key] = measure(method, per_class, seed, options)
                    with path.open("a", encoding="utf-8") as file:
                        print(json.dumps(done[key]), file=file)
                    shown = f"{100 * done[key]['top1']:.1f} % in {done[key]['seconds']:.0f} s"
                    print(f"{per_class} a class, seed {seed}, {method}: {shown}", flush=True)
                records += [done[key]] if key in done else []
    return records


def table(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each method and number of images: accuracy, loss, and the gain over the plain recipe, in points."""
    lines = ["| images per class | method | top-1 | loss | gain | seeds |", "|---|---|---|---|---|---|"]
    for per_class in dict.fromkeys(r["per_class"] for r in records):
        mine = {(r["method"], r["seed"]): r for r in records if r["per_class"] == per_class}
        for method in dict.fromkeys(name for name, _ in mine):
            rows = [row for (name, _), row in mine.items() if name == method]
            plain = [(row, mine.get((reference(method), row["seed"]))) for row in rows]
            gains = [100 * (row["top1"] - other["top1"]) for row, other in plain if other]
            lines.append(
                f"| {per_class} | {method} | {100 * fmean(r['top1'] for r in rows):.1f} "
                f"| {fmean(r['nll'] for r in rows):.3f} | {_gain(gains) if method != reference(method) else ''} "
                f"| {len(rows)} |"
            )
    return lines


def _gain(gains: Sequence[float]) -> str:
    if not gains:
        return "-"
    error = f" ± {stdev(gains) / len(gains) ** 0.5:.1f}" if len(gains) > 1 else ""
    return f"{fmean(gains):+.1f}{error}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--strategy", default="lp_ft", help="a strategy with a phase called all")
    parser.add_argument("--per-class", nargs="+", default=["20"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS, metavar="METHOD")
    parser.add_argument("--out", type=Path, default=Path("runs/methods"))
    parser.add_argument("--table-only", action="store_true")
    parser.add_argument("--quick", action="store_true", help="one seed, one epoch; the figures mean nothing")
    parser.add_argument("overrides", nargs="*", help="of transferkit's configuration")
    options = parser.parse_intermixed_args()
    if options.quick:
        options.seeds, options.out = 1, options.out / "quick"
    logging.disable(logging.WARNING)
    print("\n".join(table(run_all(options))))


if __name__ == "__main__":
    main()
