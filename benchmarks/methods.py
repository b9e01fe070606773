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
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from statistics import fmean
from typing import Any

from benchmarks.fits import open_case, tested
from benchmarks.records import (
    QUICK,
    Case,
    Record,
    by_method,
    complete,
    folder_of,
    gains_over,
    make_case,
    parsed,
    parser_of,
    percent,
    with_error,
)
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


def reference(method: str) -> str:
    """The method that another is compared with."""
    return SCRATCH if method.startswith(SCRATCH) else PLAIN


def cases(options: argparse.Namespace) -> Iterator[Case]:
    """Everything that these options ask for."""
    for seed in range(options.seeds):
        for per_class in options.per_class:
            for method in options.methods:
                given = (*METHODS[method], *(QUICK if options.quick else ()), *options.overrides)
                yield make_case(options.strategy, method, per_class, seed, given)


def measure(case: Case, options: argparse.Namespace) -> Record:
    """Fit and test one method; a fit that was stopped goes on."""
    clock, cpu = time.perf_counter(), time.process_time()
    strategy = SCRATCH if reference(case.method) == SCRATCH else case.strategy
    context = open_case(strategy, case.overrides, folder_of(options.out, case.method, *case.overrides))
    fitted = fit_strategy(context)
    figures = tested(context, fitted)
    return {
        **{"top1": figures["top1"], "nll": figures["nll"], "wise_ft": fitted.details.get("wise_ft")},
        **{"seconds": time.perf_counter() - clock, "cpu": time.process_time() - cpu},
    }


def table(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each method and number of images: accuracy, loss, and the gain over the plain recipe, in points."""
    lines = ["| images per class | method | top-1 | loss | gain | seeds |", "|---|---|---|---|---|---|"]
    for per_class, method, rows, every in by_method(records):
        gains = gains_over(reference(method), rows, every)
        gain = with_error(gains) if method != reference(method) else ""
        loss = f"{fmean(r['nll'] for r in rows):.3f}"
        lines.append(f"| {per_class} | {method} | {percent(rows)} | {loss} | {gain} | {len(rows)} |")
    return lines


def main() -> None:
    parser = parser_of(__doc__, "methods")
    parser.add_argument("--strategy", default="lp_ft", help="a strategy with a phase called all")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS, metavar="METHOD")
    options = parsed(parser)
    records = complete(
        options.out / "fits.jsonl", cases(options), partial(measure, options=options), only_read=options.table_only
    )
    print("\n".join(table(records)))


if __name__ == "__main__":
    main()
