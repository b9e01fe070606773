"""The loss of strategy=auto on few images, by rules that were fitted without the case's source network, or its data.

    python -m benchmarks.small_auto --seeds 2
    python -m benchmarks.small_auto --backbones efficientnet_lite0 --folders FOLDER -- backbone.input_size=96

Each case is a data set, a network, and a number of images per class small enough that folds choose. All that `auto`
could select is fitted once, as `auto` fits it, and tested; each case is a line of JSON in `--out`, and is not repeated.
The decision is then made by the code of `auto` from the recorded predictions, seconds and costs, with the rules of the
package and with rules fitted to other cases. A folder holds train/ and val/, or a folder for each class.

The cases of docs/advisor.md are in small_auto_cases.jsonl (2026-11-24, one thread of a busy machine):

    python -m benchmarks.small_auto --table-only --out benchmarks/small_auto_cases.jsonl
"""

import argparse
import json
import logging
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from benchmarks.fits import open_case
from benchmarks.packed import pack, unpack
from benchmarks.quadrant import SETS
from benchmarks.textures import write_textures
from transferkit.advisor.advice import advise, known_strategies
from transferkit.advisor.choose import Outlook
from transferkit.advisor.evidence import Evidence
from transferkit.advisor.gains import FINETUNING, UNMEASURED
from transferkit.advisor.quadrant import judge
from transferkit.advisor.quadrant_cases import CASES, Case
from transferkit.advisor.rules import RULES, Rules, fit_rules
from transferkit.config.compose import load_strategy_settings
from transferkit.folds import cross_validates
from transferkit.metrics import compute_metrics
from transferkit.models.protocols import center_probabilities
from transferkit.models.transfer_model import TransferModel
from transferkit.strategies.auto_folds import choose_by_folds, hits, probe_on_finetuning_folds
from transferkit.strategies.auto_outcome import PROBES, Outcome
from transferkit.strategies.calibrate import calibrate
from transferkit.strategies.context import UNAUGMENTED, Context
from transferkit.strategies.fitted import Fitted, OutOfFold
from transferkit.strategies.registry import fit_strategy
from transferkit.targets.class_target import ClassTarget
from transferkit.timing import StepTimer

EMBEDDED = ("resnet_glyphs", "resnet_fractals")
SOURCES = {"resnet_glyphs": "glyphs", "resnet_fractals": "fractals"}
FAMILIES = {"hymenoptera": "ants and bees", "omniglot": "characters"}
SIMILAR = {("digits", "glyphs"), ("glyphs", "glyphs"), ("fractals", "fractals"), ("ants and bees", "ImageNet")}
"""Data and source that a person would call similar."""

TRIED = (*FINETUNING, *UNMEASURED)

Record = dict[str, Any]


def measure(name: str, data_given: Sequence[str], backbone_given: Sequence[str], options: argparse.Namespace) -> Record:
    """Fit and test everything that `auto` could select, for one case.

    Args:
        name: Of the case: data, source, images per class and seed.
        data_given: Overrides for the data.
        backbone_given: Overrides for the network.
        options: Of the command.
    """
    data_name, source, per_class, seed = name.split(", ")
    given = [*data_given, *backbone_given, *options.overrides, f"dataset.per_class={per_class}", f"seed={seed}"]
    strategies, fits = known_strategies(), dict[str, Record]()
    with tempfile.TemporaryDirectory() as folder:
        context = open_case("auto", given, Path(folder))
        data, settings = context.data, context.settings
        assert cross_validates(settings["selection"], len(data.val)), f"{name}: val chooses, not folds"
        most = settings["strategy"]["auto"]["max_images"]
        advice = advise(context.backbone, data, settings, context.extract, most)
        for strategy in (*PROBES, *options.finetuning):
            fits[strategy] = _fit(context, strategies[strategy], Path(folder, strategy))
    labels = {"labels": data.fit_labels().tolist(), "test_labels": data.test.labels.tolist()}
    return {
        **{"case": name, "data": data_name, "source": source, "per_class": per_class, "seed": int(seed)},
        **{"evidence": asdict(advice.evidence), "costs": dict(advice.costs), "test": len(data.test), **labels},
        **{"fits": fits},
    }


def _fit(context: Context, strategy: Mapping[str, Any], folder: Path) -> Record:
    """Fit, calibrate and test a strategy; its predictions out of fold, of a probe on the folds of finetuning."""
    probe = strategy["name"] in PROBES
    own = context.with_strategy(strategy, folder, **(UNAUGMENTED if probe else {}))
    start = time.monotonic()
    fitted = calibrate(fit_strategy(own), context.data.val.labels)
    seconds = time.monotonic() - start
    assert fitted.out_of_fold is not None
    shares = _shares(fitted.out_of_fold)
    found = probe_on_finetuning_folds(context, strategy, fit_strategy) if probe else fitted.out_of_fold
    test = context.data.test
    probabilities = center_probabilities(fitted.model, test, context.extract)
    figures = compute_metrics(probabilities, test.labels)
    return {
        **{"top1": figures["top1"], "nll": figures["nll"], "seconds": seconds, "hits": shares},
        **{"images": found.images.tolist(), "out_of_fold": pack(found.probabilities), "test": pack(probabilities)},
    }


def _shares(found: OutOfFold) -> list[float | None]:
    """For each image the share of its predictions that are correct; None without any."""
    return [None if np.isnan(share) else round(float(share), 3) for share in hits(found)]


@dataclass(frozen=True)
class Decision:
    """The choice of `auto` in a case.

    Attributes:
        chosen: Strategy, or those whose mean it is: "concat_probe+retrain".
        loss: Test accuracy of the best strategy minus that of the chosen one; zero if a mean is better than all.
        cost: Seconds of the finetuning it ran, as a share of those of all strategies.
        top1: Test accuracy of the chosen one.
    """

    chosen: str
    loss: float
    cost: float
    top1: float


def decide(record: Record, rules: Rules, averaged: bool = True) -> Decision:
    """Make the decision of `auto` from what was recorded.

    Args:
        record: The case.
        rules: Fitted to others.
        averaged: Whether a mean of several strategies may be taken.
    """
    evidence, fits = Evidence(**record["evidence"]), record["fits"]
    strategies = {name: strategy for name, strategy in known_strategies().items() if name in fits}
    packed = "labels" in record  # the first cases have no probabilities, so no mean can be taken

    def fit(context: Context) -> Fitted:
        name = str(context.strategy["name"])
        few = name in PROBES and context.settings["selection"]["name"] == "cv"
        if packed and (few or name not in PROBES):
            found = _predictions(record, name)
        else:
            found = recorded(fits[name]["few_folds" if few else "hits"])
        return Fitted(cast(TransferModel, None), np.zeros((0, 2), np.float32), 0, out_of_fold=found)

    with tempfile.TemporaryDirectory() as folder:
        for name in fits:
            Path(folder, "trials", name).mkdir(parents=True)
            kept = json.dumps({"seconds": fits[name]["seconds"]})
            Path(folder, "trials", name, "seconds.json").write_text(kept, encoding="utf-8")
        nothing, images = cast(Any, None), evidence.judged
        data = SimpleNamespace(target=ClassTarget(()), fit_contents=lambda: np.arange(images))
        context = Context(nothing, cast(Any, data), auto_settings(), nothing, StepTimer(), Path(folder))
        if not packed or not averaged:
            context = context.with_strategy(
                {**context.strategy, "auto": {**context.strategy["auto"], "average": False}}
            )
        outcome = choose_by_folds(context, Outlook(evidence, judge(evidence, rules), record["costs"]), strategies, fit)
    top1, spending = _top1(record, outcome), outcome.spending
    cost = spending.share * sum(spending.measured.values()) / spending.limit
    return Decision(outcome.name, max(_best(record) - top1, 0.0), cost, top1)


def _predictions(record: Record, name: str) -> OutOfFold:
    """The recorded predictions on the folds of finetuning."""
    labels, fitted = np.array(record["labels"]), record["fits"][name]
    images = np.array(fitted["images"])
    return OutOfFold.of(unpack(fitted["out_of_fold"], record["evidence"]["classes"]), images, labels)


def _top1(record: Record, outcome: Outcome) -> float:
    """Test accuracy of what was selected."""
    if len(outcome.members) == 1:
        return float(record["fits"][outcome.chosen.strategy]["top1"])
    classes, labels = record["evidence"]["classes"], np.array(record["test_labels"])
    each = [unpack(record["fits"][entry.strategy]["test"], classes) for entry, _ in outcome.members]
    mean = np.average(each, axis=0, weights=[share for _, share in outcome.members])
    return float((mean.argmax(axis=1) == labels).mean())


@cache
def auto_settings() -> Record:
    """The default configuration of strategy=auto; not to be changed."""
    return load_strategy_settings("auto", [])


def _best(record: Record) -> float:
    return float(max(fitted["top1"] for fitted in record["fits"].values()))


def recorded(shares: Sequence[float | None]) -> OutOfFold:
    """Predictions of two classes with these shares of correct ones, each image as often as tenths of a share need."""
    times = 6  # repeats of folds are 1, 2 or 3
    known = [(image, round(share * times)) for image, share in enumerate(shares) if share is not None]
    right = np.concatenate([np.arange(times) < correct for _, correct in known])
    images = np.repeat([image for image, _ in known], times)
    probabilities = np.stack([right, ~right], axis=1).astype(np.float32)
    return OutOfFold(probabilities, np.zeros(len(right), dtype=np.int64), images.astype(np.int64))


def rules_of(record: Record, by: str) -> Rules:
    """Rules fitted without this record's source or data; those of the package if nothing is left out."""
    if by == "nothing":
        return RULES
    return fit_rules([case for case in CASES if getattr(case, by) != record[by]])


def case_of(record: Record) -> Case:
    """The record as a case to which rules are fitted."""
    top1 = {name: fitted["top1"] for name, fitted in record["fits"].items() if name != "concat_probe"}
    corner = "small", "similar" if (record["data"], record["source"]) in SIMILAR else "different"
    about = record["data"], record["source"], record["per_class"], record["seed"]
    return Case(*about, Evidence(**record["evidence"]), top1, corner)


def table(records: Sequence[Record]) -> list[str]:
    """Test top-1 in % of every strategy, what `auto` selects without the case's source, its loss; then the means."""
    names = [name for name in (*PROBES, *TRIED) if any(name in record["fits"] for record in records)]
    lines = [f"| case | {' | '.join(names)} | auto | loss | cost |", "|---" * (len(names) + 4) + "|"]
    decisions = {
        by: [decide(record, rules_of(record, by)) for record in records] for by in ("nothing", "source", "data")
    }
    for record, decision in zip(records, decisions["source"], strict=True):
        best = _best(record)
        cells = [100 * record["fits"][name]["top1"] if name in record["fits"] else None for name in names]
        shown = ["" if cell is None else f"**{cell:.1f}**" if cell == 100 * best else f"{cell:.1f}" for cell in cells]
        lines.append(
            f"| {record['case']} | {' | '.join(shown)} | {decision.chosen} | {100 * decision.loss:.1f} "
            f"| {decision.cost:.2f} |"
        )
    for by, made in decisions.items():
        losses = [100 * one.loss for one in made]
        lines.append(
            f"\nrules fitted without the case's {by}: mean loss {fmean(losses):.2f} points, worst {max(losses):.1f}, "
            f"cost {fmean(one.cost for one in made):.2f} of all strategies, {len(made)} cases"
        )
    single = [decide(record, rules_of(record, "source"), averaged=False) for record in records]
    means = [(one, other) for one, other in zip(decisions["source"], single, strict=True) if "+" in one.chosen]
    gains = "".join(f", {100 * (one.top1 - other.top1):+.1f} (in place of {other.chosen})" for one, other in means)
    lines.append(f"means taken in {len(means)} of {sum('labels' in r for r in records)} cases that allow one{gains}")
    for name in names:
        found = [_best(record) - record["fits"][name]["top1"] for record in records if name in record["fits"]]
        lines.append(f"always {name}: mean loss {100 * fmean(found):.2f} points, {len(found)} cases")
    return lines


def wanted(options: argparse.Namespace, textures: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """Name, overrides for the data and overrides for the network of each case."""
    sets = {**SETS, "textures": ["dataset=folder", f"dataset.root={textures}", "dataset.max_test=600"]}
    folders = {folder.name: ["dataset=folder", f"dataset.root={folder}"] for folder in options.folders}
    chosen = {name: sets[name] for name in options.sets} | {FAMILIES.get(n, n): given for n, given in folders.items()}
    for seed in range(options.seeds):
        for per_class in options.per_class:
            for data, given in chosen.items():
                for backbone in options.backbones:
                    source = options.source or SOURCES.get(backbone, "ImageNet")
                    if data != source:  # images that the network was pretrained on
                        yield f"{data}, {source}, {per_class}, {seed}", given, [f"backbone={backbone}"]


def run_all(options: argparse.Namespace) -> list[Record]:
    """Measure what is missing."""
    lines = options.out.read_text(encoding="utf-8").splitlines() if options.out.exists() else []
    records: dict[str, Record] = {record["case"]: record for record in map(json.loads, lines)}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as textures:
        if "textures" in options.sets:
            write_textures(Path(textures))
        for name, data, backbone in () if options.table_only else wanted(options, textures):
            if name in records:
                continue
            records[name] = measure(name, data, backbone, options)
            with options.out.open("a", encoding="utf-8") as file:
                print(json.dumps(records[name]), file=file)
            print(name, {n: round(100 * f["top1"], 1) for n, f in records[name]["fits"].items()}, flush=True)
    return list(records.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    sets = [*SETS, "textures"]
    parser.add_argument("--sets", nargs="*", default=[], choices=sets)
    parser.add_argument("--folders", nargs="*", type=Path, default=[], help="of images, CLASS/ or train/CLASS")
    parser.add_argument("--backbones", nargs="+", default=EMBEDDED, help="choices of the group backbone")
    parser.add_argument("--source", help="name of the data that the networks were pretrained on")
    parser.add_argument("--per-class", nargs="+", default=["5", "20"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--finetuning", nargs="*", default=TRIED, help="strategies that train stages")
    parser.add_argument("--out", type=Path, default=Path("runs/small_auto.jsonl"))
    parser.add_argument("--table-only", action="store_true")
    parser.add_argument("overrides", nargs="*", help="of transferkit's configuration")
    options = parser.parse_intermixed_args()
    options.sets = options.sets or ([] if options.folders else sets)
    logging.disable(logging.WARNING)
    print("\n".join(table(run_all(options))))


if __name__ == "__main__":
    main()
