"""The gain of each kind of ensemble over its members, what they disagree on, and the cost.

    python -m benchmarks.ensembles                                      on digits, 20 images a class, three times
    python -m benchmarks.ensembles --quick                              one seed, one epoch: only checks that it runs
    python -m benchmarks.ensembles --members 3 --kinds seeds greedy_soup
    python -m benchmarks.ensembles --networks efficientnet_lite0 mobilenet_v2 dataset=folder dataset.root=photos

    seeds          members with other seeds: finetuned (lp_ft) from one probe, in another order of the images
    uniform_soup   the mean of the weights of the same members
    greedy_soup    of those that do not make it worse on val
    from_scratch   members with other seeds, from random weights
    snapshots      of one run of the same steps, whose rate restarts as often (SGDR)
    networks       one member for each of several networks

Members are trained to the end of the plan (selection=last), so that val is held out for the greedy soup. All members of
an ensemble see one split; each of `--seeds` has another one. Each ensemble is a line of JSON in `--out`; what is there
already is not repeated, members included. Further words are transferkit's overrides. The table has means over the
seeds, and the gains over the mean and over the best member with their standard error; the best is that on test, which
nobody knows beforehand.
"""

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from benchmarks.fits import fit_once, open_case
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
    percent,
    with_error,
)
from transferkit.arrays import Probabilities
from transferkit.data.imageset import ImageSet
from transferkit.metrics import compute_metrics, top_k
from transferkit.models.protocols import center_probabilities
from transferkit.models.soup import greedy_soup, uniform_soup
from transferkit.models.transfer_model import TransferModel, load_model, save_model
from transferkit.report.ensemble_table import disagreement, gain
from transferkit.strategies.context import Context
from transferkit.strategies.snapshots import fit_snapshots
from transferkit.targets.class_target import ClassTarget

KINDS = ("seeds", "uniform_soup", "greedy_soup", "from_scratch", "snapshots", "networks")
SCRATCH = "from_scratch"
APART = 100
"""Between the seeds of two ensembles, so that no members are the same."""


class Members(NamedTuple):
    """The fitted members of an ensemble.

    Attributes:
        contexts: Of each.
        folders: Their artifacts.
        seconds: Of all fits.
    """

    contexts: list[Context]
    folders: list[Path]
    seconds: float

    def models(self) -> Iterator[TransferModel]:
        """Each of them, one at a time."""
        return map(load_model, self.folders)

    def probabilities(self, images: Sequence[ImageSet]) -> list[Probabilities]:
        """Those (N, K) of each member for its images; networks preprocess them differently."""
        found = zip(self.contexts, self.models(), images, strict=True)
        return [center_probabilities(model, own, context.extract) for context, model, own in found]


def cases(options: argparse.Namespace) -> Iterator[Case]:
    """Everything that these options ask for."""
    for seed in range(options.seeds):
        for per_class in options.per_class:
            for kind in options.kinds:
                strategy = SCRATCH if kind == SCRATCH else options.strategy
                own = ("selection=last", *(QUICK[1:] if options.quick else ()))
                sizes = {"networks": (), "snapshots": _restarts(options.members)}
                size = sizes.get(kind, (f"ensemble={options.members}",))
                name = f"networks {' '.join(options.networks)}" if kind == "networks" else kind
                yield make_case(strategy, name, per_class, seed, (*own, *size, *options.overrides))


def _restarts(members: int) -> tuple[str, ...]:
    return ("ensemble=snapshots", "schedule=cosine_restarts", f"schedule.cycles={members}")


def fit_members(case: Case, options: argparse.Namespace) -> Members:
    """Fit the members that no other ensemble has fitted already."""
    if case.method == "snapshots":
        return _snapshots(case, options)
    given = [given for given in case.overrides if not given.startswith("ensemble=")]
    wanted = [(given, APART * case.seed + number) for number in range(options.members)]
    if case.method.startswith("networks"):
        others = [one for one in given if not one.startswith("backbone=")]
        wanted = [([f"backbone={name}", *others], case.seed) for name in options.networks]
    contexts, folders, seconds = [], [], 0.0
    for overrides, seed in wanted:
        place = folder_of(options.out, case.strategy, *overrides, f"member {seed}")
        contexts.append(open_case(case.strategy, overrides, place))
        folder, taken = fit_once(contexts[-1], seed)
        folders.append(folder)
        seconds += taken
    return Members(contexts, folders, seconds)


def _snapshots(case: Case, options: argparse.Namespace) -> Members:
    context = open_case(case.strategy, case.overrides, folder_of(options.out, *case.key))
    start = time.perf_counter()
    _, models = fit_snapshots(context)
    folders = [context.run_dir / f"members/{number + 1}" for number in range(options.members)]
    for folder, model in zip(folders, models, strict=False):
        save_model(folder, model)
    written = [folder for folder in folders if folder.exists()]
    return Members([context] * len(written), written, time.perf_counter() - start)


def measure(case: Case, options: argparse.Namespace) -> Record:
    """Fit, join and test the members."""
    members = fit_members(case, options)
    each = members.probabilities([context.data.test for context in members.contexts])
    context = members.contexts[0]
    labels = context.data.test.labels
    kept = len(each)
    if case.method == "uniform_soup":
        joined = center_probabilities(uniform_soup(members.models()), context.data.test, context.extract)
    elif case.method == "greedy_soup":
        soup, kept = _greedy(members)
        joined = center_probabilities(soup, context.data.test, context.extract)
    else:
        joined = np.mean(each, axis=0)
    figures, own = compute_metrics(joined, labels), [compute_metrics(one, labels) for one in each]
    return {
        **{"top1": figures["top1"], "nll": figures["nll"], "members": own, "kept": kept},
        **gain(figures["top1"], [one["top1"] for one in own]),
        **{"disagreement": disagreement(each, ClassTarget(())), "passes": 1 if "soup" in case.method else len(each)},
        "seconds": members.seconds,
    }


def _greedy(members: Members) -> tuple[TransferModel, int]:
    """The greedy soup and how many members are in it."""
    context = members.contexts[0]
    val = context.data.val

    def score(model: TransferModel) -> float:
        return top_k(center_probabilities(model, val, context.extract), val.labels, 1)

    scores = [top_k(one, val.labels, 1) for one in members.probabilities([val] * len(members.folders))]
    order = sorted(range(len(scores)), key=lambda number: -scores[number])
    soup, kept = greedy_soup((load_model(members.folders[number]) for number in order), score)
    return soup, len(kept)


def table(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each ensemble: accuracy, that of its members, gains in points, disagreement and cost."""
    lines = [
        "| images per class | ensemble | top-1 | members | gain over mean | over best | loss | members' loss "
        "| disagreement | forward passes | seconds of training | seeds |",
        "|---" * 12 + "|",
    ]
    for per_class, name, rows, _ in by_method(records):
        over_mean, over_best = (with_error([100 * row[f"gain_over_{of}"] for row in rows]) for of in ("mean", "best"))
        loss, own = fmean(r["nll"] for r in rows), fmean(m["nll"] for r in rows for m in r["members"])
        lines.append(
            f"| {per_class} | {name} | {percent(rows)} | {percent(rows, 'mean_top1')} | {over_mean} | {over_best} "
            f"| {loss:.3f} | {own:.3f} | {percent(rows, 'disagreement')} % | {rows[0]['passes']} "
            f"| {fmean(r['seconds'] for r in rows):.0f} | {len(rows)} |"
        )
    return lines


def main() -> None:
    parser = parser_of(__doc__, "ensembles")
    parser.add_argument("--strategy", default="lp_ft", help="a strategy with a phase called all")
    parser.add_argument("--members", type=int, default=5, help="of one network")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS, metavar="KIND")
    parser.add_argument("--networks", nargs="+", default=["resnet_glyphs", "resnet_fractals", "vgg_glyphs"])
    options = parsed(parser)
    records = complete(
        options.out / "ensembles.jsonl", cases(options), partial(measure, options=options), only_read=options.table_only
    )
    print("\n".join(table(records)))


if __name__ == "__main__":
    main()
