"""strategy=auto: advice, short trials of the candidates if it is uncertain, and a full fit of the selected strategy."""

import dataclasses
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transferkit.advisor.advice import Advice, advise, known_strategies, to_json
from transferkit.advisor.advice_page import write_advice_page
from transferkit.advisor.choose import (
    Budget,
    Gain,
    Outlook,
    affordable,
    best_probe,
    budget_share,
    can_decide,
    expected_gain,
    make_budget,
    scratch_is_open,
    skipped_text,
    too_expensive,
    weigh_gain,
    worth_trying,
)
from transferkit.advisor.gains import PROBES
from transferkit.advisor.network_table import read_networks
from transferkit.advisor.text import advice_text
from transferkit.advisor.thresholds import COMPARABLE
from transferkit.files import write_json
from transferkit.folds import cross_validates
from transferkit.report.facts import duration
from transferkit.strategies.auto_folds import choose_by_folds
from transferkit.strategies.auto_outcome import account_of, selected_by_folds
from transferkit.strategies.context import UNAUGMENTED, Context
from transferkit.strategies.fitted import Fitted
from transferkit.strategies.trials import Fit, Trial, run_trials, winner

log = logging.getLogger(__name__)


def fit_auto(context: Context) -> Fitted:
    """Measure, select a strategy, and fit it."""
    assert context.fit is not None, "strategies.registry.fit_strategy sets it"
    return choose_and_fit(context, context.fit)


def choose_and_fit(context: Context, fit: Fit) -> Fitted:
    """As `fit_auto`, with the function that fits a strategy.

    The best probe is a candidate throughout. If finetuning is not expected to beat it by a point, or is over budget,
    the probe is fitted. Otherwise the contenders are tried, the best of them is fitted in full, and it is selected if
    its gain over the probe on val is large enough (`weigh_gain`). Where folds choose (`selection`), see `auto_folds`.
    """
    options = context.strategy["auto"]
    with context.timer.step("advise"):
        advice = advise(context.backbone, context.data, context.settings, context.extract, options["max_images"])
    log.info("%s", advice_text(advice, f"{context.data.name}: advice"))
    costs = _kept_costs(context.run_dir, advice)
    strategies = {name: strategy for name, strategy in known_strategies().items() if name in costs}
    if cross_validates(context.settings["selection"], len(context.data.val)):
        outcome = choose_by_folds(context, Outlook(advice.evidence, advice.verdict, costs), strategies, fit)
        tried = [entry.trial for entry in outcome.entries]
        fitted = selected_by_folds(outcome, strategies, len(context.data.train), len(context.data.val))
        return _finish(context, advice, fitted, account_of(outcome), tried)
    val, scratch = len(context.data.val), scratch_is_open(advice.verdict, context.backbone.preprocess.input_size)
    plausible = worth_trying(advice.evidence, advice.verdict, can_decide(val), scratch)
    budget = make_budget(costs, budget_share(options["budget"], scratch))
    most = options["contenders"] if options["trials"] and can_decide(val) else 1
    names, trials = affordable(plausible, budget, options["share"], most), list[Trial]()
    if len(names) > 1:
        trials = run_trials(context, {name: strategies[name] for name in names}, budget, options["share"], fit)
    tuned = winner(trials) if trials else names[0] if names else None
    chosen, fitted, gain = _final(context, advice, strategies, tuned, fit)
    said = _account(plausible, budget, trials, chosen, gain, val)
    return _finish(context, advice, fitted, said, trials)


def _finish(
    context: Context, advice: Advice, fitted: Fitted, said: Mapping[str, Any], trials: Sequence[Trial]
) -> Fitted:
    """Say what was selected and why, in the log, on the page and in metrics.json."""
    log.info("%s", said["why"])
    content = _write_page(context, advice, said, [dataclasses.asdict(trial) for trial in trials])
    shutil.rmtree(context.run_dir / "trials", ignore_errors=True)
    return dataclasses.replace(fitted, details={**fitted.details, "chosen": said["chosen"], **content})


def _final(
    context: Context,
    advice: Advice,
    strategies: Mapping[str, Mapping[str, Any]],
    tuned: str | None,
    fit: Fit,
) -> tuple[str, Fitted, Gain | None]:
    """Fit the probe, and the finetuning strategy if there is one; return the selected name and model, and the gain."""

    def fit_named(name: str) -> Fitted:
        return fit(context.with_strategy(strategies[name], **(UNAUGMENTED if name in PROBES else {})))

    probe_name = best_probe(advice.verdict)
    probe = fit_named(probe_name)
    if tuned is None:
        return probe_name, probe, None
    fitted = fit_named(tuned)
    expected, spread = expected_gain(advice.evidence, advice.verdict, tuned, probe_name)
    gain = weigh_gain(fitted.val, probe.val, context.data.val.labels, expected, spread)
    return (tuned, fitted, gain) if gain.worth_it else (probe_name, probe, gain)


def _kept_costs(run_dir: Path, advice: Advice) -> Mapping[str, float]:
    """The estimated costs; those of the first attempt if a run is resumed, so that it decides the same."""
    path = run_dir / "trials" / "costs.json"
    if not path.is_file():
        write_json(path, advice.costs)
    costs: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
    return costs


def _account(
    plausible: Sequence[str], budget: Budget, trials: list[Trial], chosen: str, gain: Gain | None, val: int
) -> dict[str, Any]:
    """The decision and its reason, in numbers and in a sentence; `plausible` strategies were worth trying."""
    skipped = too_expensive(plausible, budget)
    if gain is None:
        why = (
            "finetuning would cost more than the budget allows"
            if plausible
            else "finetuning is not expected to gain a point"
        )
    else:
        why = gain.sentence("finetuning changed val top-1")
    everything = sum(budget.costs.values())
    spent = f"estimated budget {duration(budget.limit)}, of {duration(everything)} for every strategy"
    tried = f"{len(trials)} trials" if trials else "no trials"
    if not can_decide(val):
        tried += f", since val ({val} images) is too small to compare models (at least {COMPARABLE} needed)"
    return {
        "chosen": chosen,
        "why": f"Selected: {chosen}; {why}. {tried.capitalize()}; {spent}"
        + (f"; {skipped_text(skipped)} (strategy.auto.budget)." if skipped else "."),
        "gain": None if gain is None else dataclasses.asdict(gain),
        "budget": {"limit": round(budget.limit, 2), "everything": round(everything, 2)},
        "skipped": {name: round(seconds, 2) for name, seconds in skipped.items()},
    }


def _write_page(
    context: Context, advice: Advice, said: Mapping[str, Any], trials: list[dict[str, Any]]
) -> dict[str, Any]:
    """Write advice.html; return the entries of metrics.json."""
    content: dict[str, Any] = {"advice": to_json(advice), "trials": trials, "choice": dict(said)}
    networks = read_networks(context.run_dir)
    about = {
        **({"networks": networks} if networks else {}),
        "dataset": context.data.name,
        "backbone": context.backbone.spec.name,
        "weights": context.backbone.weights_name,
        "command": "python -m transferkit strategy=auto",
        "seconds": context.timer.seconds(),
        "choice": said["why"],
        "chosen": said["chosen"],
        "trials": trials,
    }
    write_advice_page(context.run_dir / "advice.html", {**content["advice"], **about}, context.data.split_note)
    return content
