"""Which function fits a strategy: decided by the node that its YAML has."""

from collections.abc import Callable, Mapping
from typing import Any

from transferkit.errors import TransferkitError
from transferkit.plan import plan_of
from transferkit.strategies.auto import check_options, fit_auto
from transferkit.strategies.context import Context
from transferkit.strategies.finetune import fit_finetune, refuse_single_rate
from transferkit.strategies.fitted import Fitted
from transferkit.strategies.nearest_neighbor import fit_neighbors
from transferkit.strategies.stage_probe import fit_probes

KINDS: dict[str, Callable[[Context], Fitted]] = {
    "probe": fit_probes,
    "neighbors": fit_neighbors,
    "phases": fit_finetune,
    "auto": fit_auto,
}
"""The node of the YAML that makes a strategy one of a kind, and what fits that kind."""


def check_strategy(settings: Mapping[str, Any]) -> None:
    """Find mistakes in the settings of a strategy before any work is done.

    Raises:
        TransferkitError: Its plan or its options cannot be used.
    """
    strategy = settings["strategy"]
    if "phases" in strategy:
        refuse_single_rate(settings)
        plan_of(settings)
    if "auto" in strategy:
        check_options(strategy["auto"])


def fit_strategy(context: Context) -> Fitted:
    """Fit the strategy `context.strategy`.

    Raises:
        TransferkitError: It is of no known kind.
    """
    strategy = context.strategy
    for node, fit in KINDS.items():
        if node in strategy:
            return fit(context)
    raise TransferkitError(
        f"strategy={strategy['name']} has none of {', '.join(KINDS)}, so nothing says what is to be fitted: "
        "see conf/strategy/linear_probe.yaml."
    )
