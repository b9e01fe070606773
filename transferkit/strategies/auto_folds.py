"""strategy=auto on few images: probes and finetuning compared by their predictions for images held out of the fit."""

import json
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from transferkit.advisor.choose import Gain, Outlook, Spending, expected_gain, weigh_hits, worth_trying
from transferkit.arrays import Doubles
from transferkit.files import write_json
from transferkit.ranking import rank
from transferkit.report.facts import duration
from transferkit.strategies.context import UNAUGMENTED, Context
from transferkit.strategies.fitted import Fitted, OutOfFold
from transferkit.strategies.trials import Fit, Trial

log = logging.getLogger(__name__)

PROBES = ("concat_probe", "linear_probe", "stage_probe", "nearest_neighbor")
"""Tried in any case, since their features are computed once. The first is preferred: with few images which stage is the
best is little better than a guess, and all of them together were hardly ever worse (docs/probes.md)."""


@dataclass(frozen=True)
class Entry:
    """A fitted strategy, and the figures it is compared by.

    Attributes:
        strategy: Its name.
        fitted: Fitted on train and val.
        trial: Its accuracy and loss on images held out of the fit.
        gain: Over the best probe; None for a probe.
    """

    strategy: str
    fitted: Fitted
    trial: Trial
    gain: Gain | None = None


@dataclass(frozen=True)
class Outcome:
    """The selected strategy, and what it was compared with.

    Attributes:
        chosen: Selected.
        probe: The best probe.
        best: The finetuning strategy with the largest weighted gain; None if none was fitted.
        entries: Everything that was fitted, in that order.
        skipped: Finetuning strategies for which there was no time.
        spending: The seconds of finetuning.
    """

    chosen: Entry
    probe: Entry
    best: Entry | None
    entries: Sequence[Entry]
    skipped: Sequence[str]
    spending: Spending


def choose_by_folds(
    context: Context, outlook: Outlook, strategies: Mapping[str, Mapping[str, Any]], fit: Fit
) -> Outcome:
    """Fit every probe and the finetuning strategies that may be better, and select one.

    The finetuning strategies come in the order of their expected accuracy, as many as the budget in measured seconds
    allows. Each is fitted by folds and then in full, so that the selected one needs no further fit. It is compared with
    the best probe on the same folds; its gain and the gain in earlier cases are averaged, weighted by their precision.
    Earlier cases alone decide nothing, unless finetuning could not plausibly gain a point.

    Args:
        context: Of strategy=auto. What is fitted is kept in `run_dir/trials`, from where an interrupted run goes on.
        outlook: Measurements, expectations and costs.
        strategies: The content of each strategy's YAML.
        fit: Fits a strategy.
    """
    options = context.strategy["auto"]
    probes = [_fit_probe(context, strategies[name], fit) for name in PROBES]
    probe = best_probe(probes)
    names = worth_trying(outlook.evidence, outlook.verdict, tried=True)[: options["contenders"]]
    names = names if options["trials"] else []
    entries, skipped, measured = list(probes), list[str](), dict[str, float]()
    reference = probe_on_finetuning_folds(context, strategies[probe.strategy], fit) if names else None
    lead = _lead(probe, next(entry for entry in probes if entry.strategy == "linear_probe"))
    for name in names:
        spending = Spending(outlook.costs, options["budget"], measured)
        if reference is None or not spending.allows(name):
            skipped.append(name)
            continue
        folder = context.run_dir / "trials" / name
        start = time.monotonic()
        fitted = fit(context.with_strategy(strategies[name], folder))
        measured[name] = _kept_seconds(folder, time.monotonic() - start)
        expected, spread = expected_gain(outlook.evidence, outlook.verdict, name, "linear_probe")
        gain = compare(_predictions(fitted), reference, expected - lead, spread)
        entries.append(_entry(name, fitted, gain))
        _tell(entries[-1])
    best = best_finetuning(entries)
    chosen = best if best is not None and best.gain is not None and best.gain.worth_it else probe
    return Outcome(chosen, probe, best, entries, skipped, Spending(outlook.costs, options["budget"], measured))


def best_finetuning(entries: Sequence[Entry]) -> Entry | None:
    """The finetuning strategy with the largest weighted gain; None if none was fitted."""
    tuned = [(entry.gain.shrunk, entry) for entry in entries if entry.gain is not None]
    return max(tuned, key=lambda pair: pair[0])[1] if tuned else None


def account_of(outcome: Outcome) -> dict[str, Any]:
    """The decision and its reason, in numbers and in a sentence."""
    best, spending = outcome.best, outcome.spending
    if best is not None and best.gain is not None:
        why = best.gain.sentence(f"{best.strategy} changed out-of-fold top-1", f" against {outcome.probe.strategy}")
    elif outcome.skipped:
        why = "finetuning would cost more than the budget allows"
    else:
        why = "finetuning cannot plausibly gain a point"
    tuned = [name for name in (entry.strategy for entry in outcome.entries) if name not in PROBES]
    skipped = f"; no time for {', '.join(outcome.skipped)}" if outcome.skipped and tuned else ""
    everything = spending.limit / spending.share if spending.share else 0.0
    return {
        "chosen": outcome.chosen.strategy,
        "why": f"Selected: {outcome.chosen.strategy}; {why}. Compared by folds of train and val: {len(PROBES)} probes"
        + (f", and {', '.join(tuned)} in {duration(sum(spending.measured.values()))}" if tuned else "")
        + f"{skipped} (budget {duration(spending.limit)}, of {duration(everything)} for every strategy).",
        "probe": outcome.probe.strategy,
        "gain": None if best is None or best.gain is None else asdict(best.gain),
        "budget": {"limit": round(spending.limit, 2), "everything": round(everything, 2)},
    }


def best_probe(probes: Sequence[Entry]) -> Entry:
    """The first probe, unless another is more accurate by more than a standard error on the same images."""
    first = probes[0]
    better = [probe for probe in probes[1:] if _clearly_better(probe.fitted, first.fitted)]
    return max(better, key=lambda probe: rank(probe.trial.val_top1, probe.trial.val_nll), default=first)


def compare(ours: OutOfFold, theirs: OutOfFold, expected: float = 0.0, spread: float = math.inf) -> Gain:
    """The gain over other predictions, on the images for which there are both (`choose.weigh_hits`)."""
    return weigh_hits(*_both(ours, theirs), expected, spread)


def _lead(probe: Entry, linear: Entry) -> float:
    """The lead of a probe over the linear probe, by which a gain over the linear probe is smaller."""
    return compare(_predictions(probe.fitted), _predictions(linear.fitted)).measured


def _both(ours: OutOfFold, theirs: OutOfFold) -> tuple[Doubles, Doubles]:
    shared = np.intersect1d(ours.images, theirs.images)
    first, second = (hits(found)[shared] for found in (ours, theirs))
    return first, second


def hits(found: OutOfFold) -> Doubles:
    """The share of an image's predictions that are correct, by its position in train and val; nan without any."""
    correct = (found.probabilities.argmax(axis=1) == found.labels).astype(np.float64)
    times = np.bincount(found.images)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.bincount(found.images, correct) / times, dtype=np.float64)


def _clearly_better(ours: Fitted, theirs: Fitted) -> bool:
    gain = compare(_predictions(ours), _predictions(theirs))
    return gain.worth_it


def _predictions(fitted: Fitted) -> OutOfFold:
    assert fitted.out_of_fold is not None, "folds chose"
    return fitted.out_of_fold


def _entry(name: str, fitted: Fitted, gain: Gain | None = None) -> Entry:
    figures = _predictions(fitted).metrics()
    return Entry(name, fitted, Trial(name, 1.0, float(figures["top1"]), float(figures["nll"])), gain)


def _fit_probe(context: Context, strategy: Mapping[str, Any], fit: Fit) -> Entry:
    return _entry(str(strategy["name"]), fit(context.with_strategy(strategy, **UNAUGMENTED)))


def probe_on_finetuning_folds(context: Context, strategy: Mapping[str, Any], fit: Fit) -> OutOfFold:
    """The predictions of a probe on the folds on which finetuning is compared: fewer, of smaller training parts."""
    selection = context.settings["selection"]
    selection = {**selection, "name": "cv", "folds": selection["finetune_folds"], "repeats": 1}
    return _predictions(fit(context.with_strategy(strategy, selection=selection, **UNAUGMENTED)))


def _kept_seconds(folder: Path, seconds: float) -> float:
    """The seconds of a fit; those of the first time if a run is resumed, so that it decides the same."""
    path = folder / "seconds.json"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, {"seconds": seconds})
    return float(json.loads(path.read_text(encoding="utf-8"))["seconds"])


def _tell(entry: Entry) -> None:
    assert entry.gain is not None
    log.info(
        "%s: top-1 %.1f %% out of fold, %+.1f points against the best probe (standard error %.1f).",
        *(entry.strategy, 100 * entry.trial.val_top1, 100 * entry.gain.measured, 100 * entry.gain.standard_error),
    )
