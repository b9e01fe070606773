"""strategy=auto on few images: probes and finetuning compared by their predictions for images held out of the fit."""

import json
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from transferkit.advisor.choose import (
    Gain,
    Outlook,
    Spending,
    budget_share,
    expected_gain,
    weigh_hits,
    worth_trying,
)
from transferkit.arrays import Doubles
from transferkit.files import write_json
from transferkit.ranking import rank
from transferkit.strategies.auto_average import Average, average_sentence, calibrated, find_average
from transferkit.strategies.auto_outcome import PROBES, Entry, Outcome
from transferkit.strategies.context import UNAUGMENTED, Context
from transferkit.strategies.fitted import Fitted, OutOfFold
from transferkit.strategies.trials import Fit, Trial

log = logging.getLogger(__name__)


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
    names = worth_trying(outlook.evidence, outlook.verdict, tried=True) if options["trials"] else []
    trials = _Trials(context, outlook, strategies, fit, probes, probe)
    tuned, skipped, spending = _fit_contenders(trials, [name for name in names if name in strategies])
    entries = [*probes, *tuned]
    best = best_finetuning(entries)
    chosen = best if best is not None and best.gain is not None and best.gain.worth_it else probe
    average = _average(trials, tuned, chosen.strategy) if options["average"] else None
    return Outcome(chosen, probe, best, entries, skipped, spending, average)


@dataclass(frozen=True)
class _Trials:
    """The arguments of `choose_by_folds`, and the fitted probes."""

    context: Context
    outlook: Outlook
    strategies: Mapping[str, Mapping[str, Any]]
    fit: Fit
    probes: Sequence[Entry]
    probe: Entry
    known: dict[str, OutOfFold] = field(default_factory=dict)

    def on_finetuning_folds(self, name: str) -> OutOfFold:
        """The predictions of a probe, see `probe_on_finetuning_folds`; computed once."""
        if name not in self.known:
            self.known[name] = probe_on_finetuning_folds(self.context, self.strategies[name], self.fit)
        return self.known[name]


def _fit_contenders(trials: _Trials, names: Sequence[str]) -> tuple[list[Entry], dict[str, float], Spending]:
    """Fit as many of the strategies, in this order, as are allowed; those for which there is no time are passed over.

    Returns:
        The fitted ones; those passed over, with their expected seconds; and what was spent.
    """
    context, outlook, options = trials.context, trials.outlook, trials.context.strategy["auto"]
    tuned, skipped, measured = list[Entry](), dict[str, float](), dict[str, float]()
    share = budget_share(options["budget"], scratch=False)
    lead = _lead(trials.probe, next(entry for entry in trials.probes if entry.strategy == "linear_probe"))
    for name in names:
        spending = Spending(outlook.costs, share, measured)
        if len(tuned) == options["contenders"]:
            break
        if not spending.allows(name):
            skipped[name] = spending.expected(name)
            continue
        folder = context.run_dir / "trials" / name
        reference = trials.on_finetuning_folds(trials.probe.strategy)
        start = time.monotonic()
        fitted = trials.fit(context.with_strategy(trials.strategies[name], folder))
        measured[name] = _kept_seconds(folder, time.monotonic() - start)
        expected, spread = expected_gain(outlook.evidence, outlook.verdict, name, "linear_probe")
        gain = compare(_predictions(fitted), reference, expected - lead, spread)
        tuned.append(_entry(name, fitted, gain))
        _tell(tuned[-1])
    return tuned, skipped, Spending(outlook.costs, share, measured)


def _average(trials: _Trials, tuned: Sequence[Entry], selected: str) -> Average | None:
    """The mean of the selected strategy with others that were fitted, all of them calibrated and on the same folds."""
    data = trials.context.data
    if not data.target.soft_max:
        return None
    found = {entry.strategy: trials.on_finetuning_folds(entry.strategy) for entry in trials.probes}
    if trials.context.settings["calibrate"]["temperature"]:
        found = {name: calibrated(one) for name, one in found.items()}
    found |= {entry.strategy: _predictions(entry.fitted) for entry in tuned}
    average = find_average(found, selected, data.fit_contents(), trials.context.seed)
    words = f"No mean of several strategies is better than {selected} alone."
    log.info("%s", words if average is None else average_sentence(average, selected))
    return average


def best_finetuning(entries: Sequence[Entry]) -> Entry | None:
    """The finetuning strategy with the largest weighted gain; None if none was fitted."""
    tuned = [(entry.gain.shrunk, entry) for entry in entries if entry.gain is not None]
    return max(tuned, key=lambda pair: pair[0])[1] if tuned else None


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
