"""The registry of strategies: the node in a strategy's YAML determines the function that fits it."""

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from transferkit.artifact import read_metadata
from transferkit.choices import PROBE
from transferkit.errors import TransferkitError
from transferkit.strategies.context import Context, find_plan
from transferkit.strategies.fitted import Fitted
from transferkit.training.adapters import require_peft
from transferkit.training.optimizers import check_timms_name
from transferkit.training.plan import Plan

KINDS = {
    "probe": ("transferkit.strategies.stage_probe", "fit_probes"),
    "neighbors": ("transferkit.strategies.nearest_neighbor", "fit_neighbors"),
    "phases": ("transferkit.strategies.finetune", "fit_finetune"),
    "auto": ("transferkit.strategies.auto", "fit_auto"),
}
"""The node of the YAML that makes a strategy one of a kind, and the module and the function (`Context` to `Fitted`)
that fit it. Only what is used is imported: Lightning alone takes longer than a probe."""


def check_strategy(settings: Mapping[str, Any]) -> Plan | None:
    """Find mistakes that the schema cannot know, before any work is done; return the plan of a strategy with phases.

    Raises:
        TransferkitError: A key was given that this strategy does not read, a package that it needs is missing, or a run
            directory that it names cannot be read.
    """
    if "phases" in settings["strategy"]:
        refuse_single_rate(settings)
    check_timms_name(settings["optimizer"])
    plan = find_plan(settings)
    if plan is not None and any(phase.parameters == "lora" for phase in plan.phases):
        require_peft()
    if plan is not None and plan.distill["teacher"] not in (None, PROBE):
        read_metadata(Path(plan.distill["teacher"]).expanduser())
    return plan


def refuse_single_rate(settings: Mapping[str, Any]) -> None:
    """A plan has a rate for each stage, so `optimizer.lr` on the command line would do nothing.

    Raises:
        TransferkitError: It was given.
    """
    if any(override.lstrip("+").startswith("optimizer.lr=") for override in settings.get("overrides", ())):
        raise TransferkitError(
            "optimizer.lr is the rate of task=pretrain; a strategy has one for each stage: "
            "strategy.phases.NAME.train.STAGE, or optimizer.lr_scale to multiply all of them."
        )


def fit_strategy(context: Context) -> Fitted:
    """Fit the strategy `context.strategy`.

    Raises:
        TransferkitError: Its kind is unknown.
    """
    strategy = context.strategy
    for node, (module, function) in KINDS.items():
        if node in strategy:
            fitted: Fitted = getattr(import_module(module), function)(replace(context, fit=fit_strategy))
            return fitted
    raise TransferkitError(
        f"strategy={strategy['name']} has none of {', '.join(KINDS)}, so its kind is unknown: "
        "see conf/strategy/linear_probe.yaml."
    )
