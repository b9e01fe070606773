"""The outcome of strategy=auto on few images: what was fitted, what is selected, and why."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from transferkit.advisor.choose import Gain, Spending, skipped_text
from transferkit.report.facts import duration
from transferkit.strategies.auto_average import Average, average_sentence
from transferkit.strategies.fitted import Fitted, FittedMember
from transferkit.strategies.trials import Trial

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
        skipped: Finetuning strategies for which there was no time, with their expected seconds.
        spending: The seconds of finetuning.
        average: The best mean of several of them; None if no other improves the selected one.
    """

    chosen: Entry
    probe: Entry
    best: Entry | None
    entries: Sequence[Entry]
    skipped: Mapping[str, float]
    spending: Spending
    average: Average | None = None

    @property
    def name(self) -> str:
        """The selected strategy, or those whose mean is: "concat_probe+retrain"."""
        return "+".join(entry.strategy for entry, _ in self.members)

    @property
    def members(self) -> list[tuple[Entry, float]]:
        """The selected strategy, or those whose mean is, each with its share."""
        if self.average is None or not self.average.wins:
            return [(self.chosen, 1.0)]
        fitted = {entry.strategy: entry for entry in self.entries}
        return [(fitted[name], share) for name, share in self.average.shares.items()]


def selected_by_folds(outcome: Outcome, strategies: Mapping[str, Mapping[str, Any]], train: int, val: int) -> Fitted:
    """The selected model, or the models whose mean is selected; for numbers of images of train and val."""
    fitted, average = outcome.chosen.fitted, outcome.average
    if average is None or not average.wins:
        return fitted
    members = [FittedMember(strategies[entry.strategy], share, entry.fitted) for entry, share in outcome.members]
    found = average.predictions
    details = {"selection": {"by": "cv", "images": int(found.metrics()["n"])}}
    mean = Fitted(members[0].fitted.model, found.rows(train, train + val), 0, details=details, out_of_fold=found)
    return replace(mean, members=members, trainable_parameters=sum(m.fitted.trainable_parameters for m in members))


def account_of(outcome: Outcome) -> dict[str, Any]:
    """The decision and its reason, in numbers and in a sentence."""
    best, spending, average = outcome.best, outcome.spending, outcome.average
    if best is not None and best.gain is not None:
        why = best.gain.sentence(f"{best.strategy} changed out-of-fold top-1", f" against {outcome.probe.strategy}")
    elif outcome.skipped:
        why = "finetuning would cost more than the budget allows"
    else:
        why = "finetuning cannot plausibly gain a point"
    tuned = [name for name in (entry.strategy for entry in outcome.entries) if name not in PROBES]
    skipped = skipped_text(outcome.skipped)
    everything = spending.limit / spending.share if spending.share else 0.0
    return {
        "chosen": outcome.name,
        "why": f"Selected: {outcome.name}; {why}. Compared by folds of train and val: {len(PROBES)} probes"
        + (f", and {', '.join(tuned)} in {duration(sum(spending.measured.values()))}" if tuned else "")
        + (f"; {skipped}" if skipped else "")
        + f" (budget {duration(spending.limit)}, of {duration(everything)} for every strategy)."
        + (f" {average_sentence(average, outcome.chosen.strategy)}" if average is not None else ""),
        "probe": outcome.probe.strategy,
        "gain": None if best is None or best.gain is None else asdict(best.gain),
        "budget": {"limit": round(spending.limit, 2), "everything": round(everything, 2)},
        "skipped": {name: round(seconds, 2) for name, seconds in outcome.skipped.items()},
        "average": None if average is None else average.facts(),
    }
