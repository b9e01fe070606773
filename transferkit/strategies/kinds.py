"""Which function fits a strategy: decided by the node that its YAML has."""

from collections.abc import Callable

from transferkit.errors import TransferkitError
from transferkit.strategies.auto import fit_auto
from transferkit.strategies.context import Context
from transferkit.strategies.finetune import fit_finetune
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
