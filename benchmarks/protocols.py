"""The gain of each test protocol over the centre crop, on the same fitted models.

    python -m benchmarks.protocols                                      lp_ft on digits, 20 images a class, three seeds
    python -m benchmarks.protocols --quick                              one seed, one epoch: only checks that it runs
    python -m benchmarks.protocols --strategy linear_probe --protocols ten_crop dense --per-class all
    python -m benchmarks.protocols dataset=folder dataset.root=photos backbone=efficientnet_lite0

A model is fitted once for each seed, and tested by every protocol; no features come from the cache, so that the
seconds of `center` are those of its forward passes, too. Each test is a line of JSON in `--out`; what is there already
is not repeated, so a stopped benchmark goes on, and other seeds or protocols can be added later. Further words are
transferkit's overrides. The table has the mean of the test top-1 over the seeds, and of its differences from `center`
with their standard error.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from statistics import fmean
from typing import Any

from benchmarks.fits import fit_once, open_case
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
from transferkit.features.from_settings import make_extractor
from transferkit.metrics import compute_metrics
from transferkit.models.protocols import run_protocols
from transferkit.models.transfer_model import load_model

CENTER = "center"
PROTOCOLS: dict[str, tuple[str, ...]] = {
    **{name: (f"protocol={name}",) for name in (CENTER, "ten_crop", "multi_crop", "dense", "multi_scale")},
    "multi_crop_dense": ("protocol=multi_crop_dense",),
    "dense, mean of probabilities": ("protocol=dense", "protocol.dense.average=probabilities"),
    "multi_crop, not mirrored": ("protocol=multi_crop", "protocol.multi_crop.flips=false"),
    "dense, not mirrored": ("protocol=dense", "protocol.dense.flips=false"),
}
"""Name to the overrides that make it."""


def cases(options: argparse.Namespace) -> Iterator[Case]:
    """Everything that these options ask for; `center`, which all are compared with, first."""
    for seed in range(options.seeds):
        for per_class in options.per_class:
            for name in dict.fromkeys([CENTER, *options.protocols]):
                given = (*PROTOCOLS[name], *(QUICK if options.quick else ()), *options.overrides)
                yield make_case(options.strategy, name, per_class, seed, given)


def measure(case: Case, options: argparse.Namespace) -> Record:
    """Test one protocol; the model is fitted by the first."""
    fit = [given for given in case.overrides if not given.startswith("protocol")]
    context = open_case(case.strategy, case.overrides, folder_of(options.out, case.strategy, *fit))
    folder, _ = fit_once(context)
    extract = make_extractor({**context.settings, "cache": {**context.settings["cache"], "enabled": False}})
    test = context.data.test
    [result] = run_protocols(context.settings, load_model(folder), test, extract).values()
    figures = compute_metrics(result.probabilities, test.labels)
    return {
        **{"top1": figures["top1"], "nll": figures["nll"], "views": result.views, "images": len(test)},
        **{"seconds": result.seconds},
    }


def table(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each protocol: accuracy, gain over the centre crop in points, loss, and cost."""
    lines = [
        "| images per class | protocol | top-1 | gain over center | loss | views | seconds | seeds |",
        "|---" * 8 + "|",
    ]
    for per_class, name, rows, every in by_method(records):
        gains = gains_over(CENTER, rows, every)
        loss, seconds = fmean(r["nll"] for r in rows), fmean(r["seconds"] for r in rows)
        lines.append(
            f"| {per_class} | {name} | {percent(rows)} | {'' if name == CENTER else with_error(gains)} | {loss:.3f} "
            f"| {rows[0]['views']} | {seconds:.1f} | {len(rows)} |"
        )
    return lines


def main() -> None:
    parser = parser_of(__doc__, "protocols")
    parser.add_argument("--strategy", default="lp_ft")
    parser.add_argument("--protocols", nargs="+", default=list(PROTOCOLS), choices=PROTOCOLS, metavar="PROTOCOL")
    options = parsed(parser)
    records = complete(
        options.out / "tests.jsonl", cases(options), partial(measure, options=options), only_read=options.table_only
    )
    print("\n".join(table(records)))


if __name__ == "__main__":
    main()
