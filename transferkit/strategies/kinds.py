"""Which function fits a strategy: decided by the node that its YAML has."""

from collections.abc import Callable

from transferkit.errors import TransferkitError
from transferkit.strategies.context import Context
from transferkit.strategies.fitted import Fitted
from transferkit.strategies.linear_probe import fit_linear_probe

KINDS: dict[str, Callable[[Context], Fitted]] = {
    "probe": fit_linear_probe,
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
