"""Two claims of the papers, on letters: depth hurts plain networks only, and batch norm allows higher rates.

    python -m benchmarks.plain_networks                     both, three seeds; a quarter of an hour on one core
    python -m benchmarks.plain_networks --claims rates --seeds 1
    python -m benchmarks.plain_networks --quick             one seed, one epoch: only checks that it runs

depth: plain networks of 34 layers are worse than those of 18, in training too, residual ones are better (He et al.
2016, figure 4 and table 2). Their recipe (section 4.2) on few epochs of images of 32 pixels: SGD with momentum 0.9,
rate 0.1 divided by ten after 50 % and 75 % of the epochs, batches of 128, weight decay 1e-4, He's weights. The networks
have the paper's layers with a quarter of its channels.

rates: with batch norm a network trains at rates that are 5 and 30 times as high (Ioffe & Szegedy 2015, section 4.2.2).
A VGG with one convolution a block (narrow_vgg8), with and without batch norm, by SGD with momentum at a constant rate.

Each training is a line of JSON in `--out`; what is there already is not repeated. Further words are transferkit's
overrides for all trainings (dataset.images=10000, strategy.phases.all.epochs=60). Errors are in percent, means over the
seeds; training error is that of the final network on the training images.
"""

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from statistics import fmean
from typing import Any

import numpy as np

from benchmarks.fits import open_case
from benchmarks.records import (
    QUICK,
    Case,
    Record,
    by_method,
    complete,
    folder_of,
    make_case,
    parsed,
    parser_of,
    with_error,
)
from transferkit.errors import TransferkitError
from transferkit.metrics import top_k
from transferkit.models.protocols import center_probabilities
from transferkit.strategies.registry import fit_strategy

CHANNELS = "+backbone.kwargs.channels=[16,32,64,128]"
_RESIDUAL = ("backbone=timm", CHANNELS, "+backbone.kwargs.zero_init_last=false")
NETWORKS: dict[str, tuple[str, ...]] = {
    "plain18": ("backbone=plain18", CHANNELS),
    "plain34": ("backbone=plain34", CHANNELS),
    "resnet18": (*_RESIDUAL, "backbone.name=resnet18"),
    "resnet34": (*_RESIDUAL, "backbone.name=resnet34"),
}
RATE = 0.01
FACTORS = (1, 5, 30)
KEYS = ("train_top1", "top1")
NORMS = {"with batch norm": "true", "without": "false"}

COMMON = (
    *("dataset=glyphs", "dataset.classes=20", "backbone.weights=null", "backbone.input_size=32", "augment=none"),
    "backbone.crop_pct=1.0",
    *(
        "selection=last",
        "optimizer=sgd",
        "optimizer.lr_scale=1",
        "strategy.network_init=he",
        "strategy.label_smoothing=0",
    ),
    *("strategy.decay_norm_and_bias=true", "strategy.gradient_clip=null", "strategy.head_scale=1"),
    *("strategy.phases.all.min_steps=0", "strategy.batch_size=128"),
)
RECIPES: dict[str, tuple[str, ...]] = {
    "depth": ("dataset.images=4000", "schedule=step", "strategy.phases.all.epochs=24", "optimizer.weight_decay=1e-4"),
    "rates": ("dataset.images=2000", "schedule=constant", "strategy.phases.all.epochs=10", "optimizer.weight_decay=0"),
}


def methods(claim: str) -> dict[str, tuple[str, ...]]:
    """The networks of a claim by name, with the overrides that make and train each."""
    if claim == "depth":
        return {name: (*network, "lr=0.1") for name, network in NETWORKS.items()}
    network = ("backbone=vgg_glyphs", "+backbone.kwargs.dropout=0")
    return {
        f"{norm}, rate {RATE * factor:g}": (*network, f"+backbone.kwargs.batch_norm={value}", f"lr={RATE * factor:g}")
        for norm, value in NORMS.items()
        for factor in FACTORS
    }


def cases(claim: str, options: argparse.Namespace) -> Iterator[Case]:
    """Everything that these options ask for; an override that is given takes the place of the recipe's."""
    quick = (*QUICK[1:], "dataset.images=200") if options.quick else ()
    for seed in range(options.seeds):
        for name, network in methods(claim).items():
            chosen = {given.partition("=")[0]: given for given in (*COMMON, *RECIPES[claim], *quick, *network)}
            chosen |= {given.partition("=")[0]: given for given in options.overrides}
            yield make_case("from_scratch", name, "all", seed, chosen.values())


def measure(case: Case, options: argparse.Namespace) -> Record:
    """Train one network; it has diverged where its loss or its probabilities are not finite."""
    start = time.perf_counter()
    context = open_case(case.strategy, case.overrides, folder_of(options.out, *case.key))
    figures: Record = {"top1": 0.0, "train_top1": 0.0, "diverged": True}
    try:
        model = fit_strategy(context).model
    except TransferkitError as error:
        if "The training loss is" not in str(error):
            raise
    else:
        splits = (context.data.train, context.data.test)
        train, test = (center_probabilities(model, images, context.extract) for images in splits)
        if np.isfinite(train).all() and np.isfinite(test).all():
            accuracy = [top_k(found, images.labels, 1) for found, images in zip((train, test), splits, strict=True)]
            figures = {"top1": accuracy[1], "train_top1": accuracy[0], "diverged": False}
    return {**figures, "images": len(context.data.train), "seconds": time.perf_counter() - start}


def table(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each network: errors in percent."""
    lines = ["| network | training error | test error | seconds | seeds |", "|---|---|---|---|---|"]
    for _, name, rows, _ in by_method(records):
        good = [row for row in rows if not row["diverged"]]
        errors = [f"{100 - 100 * fmean(row[key] for row in good):.1f}" for key in KEYS] if good else ["-", "-"]
        lost = f" ({len(rows) - len(good)} diverged)" if len(good) < len(rows) else ""
        seconds = fmean(row["seconds"] for row in rows)
        lines.append(f"| {name} | {errors[0]} | {errors[1]}{lost} | {seconds:.0f} | {len(rows)} |")
    return lines


def deeper(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Errors of 34 layers minus those of 18, in points, with the standard error over the seeds."""
    found = {(row["method"], row["seed"]): row for row in records if not row["diverged"]}
    lines = []
    for kind in ("plain", "resnet"):
        seeds = [seed for name, seed in found if name == f"{kind}34" and (f"{kind}18", seed) in found]
        pairs = [(found[f"{kind}18", seed], found[f"{kind}34", seed]) for seed in seeds]
        train, test = (with_error([100 * (low[key] - high[key]) for low, high in pairs]) for key in KEYS)
        lines.append(f"{kind}34 minus {kind}18: training error {train}, test error {test} points")
    return lines


def main() -> None:
    parser = parser_of(__doc__, "plain_networks")
    parser.add_argument("--claims", nargs="+", default=list(RECIPES), choices=RECIPES)
    options = parsed(parser)
    tables = {}
    for claim in options.claims:
        tables[claim] = complete(
            options.out / f"{claim}.jsonl",
            cases(claim, options),
            partial(measure, options=options),
            only_read=options.table_only,
        )
    for claim, records in tables.items():
        print("\n".join(["", *table(records), *(["", *deeper(records)] if claim == "depth" else [])]))


if __name__ == "__main__":
    main()
