"""Short trials of finetuning strategies: successive halving on val."""

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transferkit.advisor.choose import Budget
from transferkit.advisor.evidence import standard_error
from transferkit.metrics import compute_metrics
from transferkit.ranking import rank
from transferkit.strategies.context import Context
from transferkit.strategies.fitted import Fitted

log = logging.getLogger(__name__)

Fit = Callable[[Context], Fitted]

MOST_SHARE = 0.6
"""Longest trial; a longer one would be the full fit itself."""


@dataclass(frozen=True)
class Trial:
    """A shortened fit.

    Attributes:
        strategy: Its name.
        share: Of its epochs and steps.
        val_top1: Accuracy on val.
        val_nll: Negative log-likelihood on val, nats.
    """

    strategy: str
    share: float
    val_top1: float
    val_nll: float


def run_trials(
    context: Context,
    strategies: Mapping[str, Mapping[str, Any]],
    budget: Budget,
    share: float,
    fit: Fit,
) -> list[Trial]:
    """Run short trials of strategies; if the best two are within a standard error, repeat these at twice the length.

    Args:
        context: Of strategy=auto; trials are stored in `run_dir/trials`, from where an interrupted one resumes.
        strategies: The content of each strategy's YAML by name; at least two.
        budget: Bounds the second round.
        share: Of the epochs and steps in the first round.
        fit: Fits a strategy.

    Returns:
        All trials in the order they ran.
    """
    trials = [try_one(context, strategy, share, fit) for strategy in strategies.values()]
    first, second, *_ = ranked(trials)
    longer = 2 * share
    close = first.val_top1 - second.val_top1 <= standard_error(first.val_top1, len(context.data.val))
    spent = [(trial.strategy, trial.share) for trial in trials]
    spent += [(trial.strategy, longer) for trial in (first, second)]
    dearest = max((first, second), key=lambda trial: budget.costs[trial.strategy]).strategy
    if close and longer <= MOST_SHARE and budget.allows(spent, dearest):
        trials += [try_one(context, strategies[t.strategy], longer, fit) for t in (first, second)]
    return trials


def winner(trials: Sequence[Trial]) -> str:
    """The best strategy of the longest trials."""
    longest = max(trial.share for trial in trials)
    return ranked([trial for trial in trials if trial.share == longest])[0].strategy


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """The best first (`ranking.rank`); ties keep their order."""
    return sorted(trials, key=lambda trial: rank(trial.val_top1, trial.val_nll), reverse=True)


def try_one(context: Context, strategy: Mapping[str, Any], share: float, fit: Fit) -> Trial:
    """Fit a shortened strategy in its own folder, and evaluate it on val."""
    name = str(strategy["name"])
    log.info("Trial of %s with %.0f %% of its epochs and steps.", name, 100 * share)
    folder = context.run_dir / "trials" / f"{name}_{share:g}"
    on_val = {**context.settings["selection"], "name": "val"}  # a trial is one fit
    fitted = fit(context.with_strategy(shortened(strategy, share), folder, selection=on_val))
    figures = compute_metrics(fitted.val, context.data.val.labels)
    trial = Trial(name, share, float(figures["top1"]), float(figures["nll"]))
    log.info("Trial of %s: val top-1 %.1f %%, loss %.3f.", name, 100 * trial.val_top1, trial.val_nll)
    return trial


def shortened(strategy: Mapping[str, Any], share: float) -> dict[str, Any]:
    """The strategy with a fraction of the epochs and steps of each phase, at least one epoch."""
    short: dict[str, Any] = copy.deepcopy(dict(strategy))
    for phase in short["phases"].values():
        if phase:
            phase["epochs"] = max(round(share * phase["epochs"]), 1)
            phase["min_steps"] = round(share * phase.get("min_steps", 0))
    return short
