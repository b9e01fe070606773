"""The loss of strategy=auto on few images, by rules that were fitted without the case's source network, or its data.

    python -m benchmarks.small_auto --seeds 2
    python -m benchmarks.small_auto --folders FOLDER --backbones efficientnet_lite0 -- backbone.input_size=96

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
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any, cast

import numpy as np

from benchmarks.fits import open_case, tested
from benchmarks.quadrant import SETS
from benchmarks.textures import write_textures
from transferkit.advisor.advice import advise, known_strategies
from transferkit.advisor.choose import Outlook
from transferkit.advisor.evidence import Evidence
from transferkit.advisor.gains import FINETUNING
from transferkit.advisor.quadrant import judge
from transferkit.advisor.quadrant_cases import CASES, Case
from transferkit.advisor.rules import RULES, Rules, fit_rules
from transferkit.config.compose import load_strategy_settings
from transferkit.folds import cross_validates
from transferkit.models.transfer_model import TransferModel
from transferkit.strategies.auto_folds import PROBES, choose_by_folds, hits, probe_on_finetuning_folds
from transferkit.strategies.context import UNAUGMENTED, Context
from transferkit.strategies.fitted import Fitted, OutOfFold
from transferkit.strategies.registry import fit_strategy
from transferkit.timing import StepTimer

EMBEDDED = ("resnet_glyphs", "resnet_fractals")
SOURCES = {"resnet_glyphs": "glyphs", "resnet_fractals": "fractals"}
FAMILIES = {"hymenoptera": "ants and bees", "omniglot": "characters"}
SIMILAR = {("digits", "glyphs"), ("glyphs", "glyphs"), ("fractals", "fractals"), ("ants and bees", "ImageNet")}
"""Data and source that a person would call similar."""

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
        for strategy in (*PROBES, *FINETUNING):
            probe = strategy in PROBES
            own = context.with_strategy(strategies[strategy], Path(folder, strategy), **(UNAUGMENTED if probe else {}))
            start = time.monotonic()
            fitted = fit_strategy(own)
            seconds = time.monotonic() - start
            figures = tested(own, fitted)
            assert fitted.out_of_fold is not None
            fits[strategy] = {"top1": figures["top1"], "nll": figures["nll"], "seconds": seconds}
            fits[strategy]["hits"] = _shares(fitted.out_of_fold)
            if probe:
                again = probe_on_finetuning_folds(context, strategies[strategy], fit_strategy)
                fits[strategy]["few_folds"] = _shares(again)
    return {
        **{"case": name, "data": data_name, "source": source, "per_class": per_class, "seed": int(seed)},
        **{"evidence": asdict(advice.evidence), "costs": dict(advice.costs), "fits": fits, "test": len(data.test)},
    }


def _shares(found: OutOfFold) -> list[float | None]:
    """For each image the share of its predictions that are correct; None without any."""
    return [None if np.isnan(share) else round(float(share), 3) for share in hits(found)]


@dataclass(frozen=True)
class Decision:
    """The choice of `auto` in a case.

    Attributes:
        chosen: Strategy.
        loss: Test accuracy of the best strategy minus that of the chosen one.
        cost: Seconds of the finetuning it ran, as a share of those of all strategies.
    """

    chosen: str
    loss: float
    cost: float


def decide(record: Record, rules: Rules) -> Decision:
    """Make the decision of `auto` from what was recorded."""
    evidence, fits = Evidence(**record["evidence"]), record["fits"]
    strategies, settings = known_strategies(), auto_settings()

    def fit(context: Context) -> Fitted:
        fitted = fits[str(context.strategy["name"])]
        few = context.settings["selection"]["name"] == "cv"
        shares = fitted["few_folds" if few else "hits"]
        return Fitted(cast(TransferModel, None), np.zeros((0, 2), np.float32), 0, out_of_fold=recorded(shares))

    with tempfile.TemporaryDirectory() as folder:
        for name in FINETUNING:
            Path(folder, "trials", name).mkdir(parents=True)
            kept = json.dumps({"seconds": fits[name]["seconds"]})
            Path(folder, "trials", name, "seconds.json").write_text(kept, encoding="utf-8")
        nothing = cast(Any, None)
        context = Context(nothing, nothing, settings, nothing, StepTimer(), Path(folder))
        outcome = choose_by_folds(context, Outlook(evidence, judge(evidence, rules), record["costs"]), strategies, fit)
    chosen, spending = outcome.chosen.strategy, outcome.spending
    cost = spending.share * sum(spending.measured.values()) / spending.limit
    return Decision(chosen, _best(record) - fits[chosen]["top1"], cost)


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
    names = (*PROBES, *FINETUNING)
    lines = [f"| case | {' | '.join(names)} | auto | loss | cost |", "|---" * (len(names) + 4) + "|"]
    decisions = {
        by: [decide(record, rules_of(record, by)) for record in records] for by in ("nothing", "source", "data")
    }
    for record, decision in zip(records, decisions["source"], strict=True):
        best = _best(record)
        cells = [100 * record["fits"][name]["top1"] for name in names]
        shown = [f"**{cell:.1f}**" if cell == 100 * best else f"{cell:.1f}" for cell in cells]
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
    for name in names:
        mean = fmean(
            max(f["top1"] for f in record["fits"].values()) - record["fits"][name]["top1"] for record in records
        )
        lines.append(f"always {name}: mean loss {100 * mean:.2f} points")
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
    parser.add_argument("--out", type=Path, default=Path("runs/small_auto.jsonl"))
    parser.add_argument("--table-only", action="store_true")
    parser.add_argument("overrides", nargs="*", help="of transferkit's configuration")
    options = parser.parse_intermixed_args()
    options.sets = options.sets or ([] if options.folders else sets)
    logging.disable(logging.WARNING)
    print("\n".join(table(run_all(options))))


if __name__ == "__main__":
    main()
