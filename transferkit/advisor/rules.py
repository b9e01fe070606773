"""The rules of the quadrant that are fitted to measured cases: expected gains, and thresholds of similarity.

They are functions of the cases, so that they can be fitted without some of them and judged on those
(`left_out_losses`): the loss on the cases that rules were fitted to is lower than on others.
"""

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, quantiles

from transferkit.advisor.evidence import Evidence
from transferkit.advisor.gains import FINETUNING, Gains
from transferkit.advisor.quadrant_cases import CASES, Case

CORNERS = tuple((size, kind) for size in ("small", "large") for kind in ("similar", "different"))

BORROWED = 2
"""A corner's gain is averaged with so many times the mean gain of all corners, since some corners have few cases."""

_SMALLEST_ERROR = 0.005


@dataclass(frozen=True)
class Rules:
    """Rules fitted to cases.

    Attributes:
        gains: Fraction of the linear probe's error that each strategy is expected to remove, by corner.
        distance: Divergence of activation statistics at which similar and different are equally likely.
        probe_skill: The same for the skill of the probe (0 chance, 1 perfect).
        neighbors_share: The same for the skill of nearest neighbours, as a fraction of the probe's.
    """

    gains: Gains
    distance: float
    probe_skill: float
    neighbors_share: float


def fit_rules(cases: Sequence[Case]) -> Rules:
    """Fit the rules to cases of both similarities."""
    return Rules(
        gains={
            corner: {name: _gain(cases, corner, name) for name in ("stage_probe", *FINETUNING)} for corner in CORNERS
        },
        distance=math.exp(_between(cases, lambda evidence: evidence.distance and math.log(evidence.distance))),
        probe_skill=_between(cases, lambda evidence: evidence.skill(evidence.top)),
        neighbors_share=_between(cases, lambda evidence: evidence.neighbors_share),
    )


def removed_error(case: Case, strategy: str) -> float | None:
    """Fraction of the linear probe's test error that a strategy removed, at least -1; None where it was not run.

    For `stage_probe` only where a stage below the top was the best on train and val: else it is the linear probe.
    """
    if strategy not in case.top1 or (strategy == "stage_probe" and case.evidence.lead <= 0):
        return None
    probe = case.top1["linear_probe"]
    return max((case.top1[strategy] - probe) / max(1 - probe, _SMALLEST_ERROR), -1.0)


def left_out_losses(
    cases: Sequence[Case], group: Callable[[Case], Hashable], choose: Callable[[Rules, Case], str]
) -> dict[str, float]:
    """The loss of a choice against the best strategy of each case, by rules fitted without its group of cases.

    Args:
        cases: All.
        group: What is left out together: the source network, or the family of data.
        choose: The strategy that rules choose for a case.

    Returns:
        Case to loss in top-1; groups without which no rules can be fitted are left out.
    """
    losses: dict[str, float] = {}
    for left_out in dict.fromkeys(map(group, cases)):
        rest = [case for case in cases if group(case) != left_out]
        if {case.corner[1] for case in rest} != {"similar", "different"}:
            continue
        rules = fit_rules(rest)
        losses |= {case.name: loss(case, choose(rules, case)) for case in cases if group(case) == left_out}
    return losses


def loss(case: Case, strategy: str) -> float:
    """Test accuracy of the best strategy of a case minus that of another."""
    return max(case.top1.values()) - case.top1[strategy]


def _gain(cases: Iterable[Case], corner: tuple[str, str], strategy: str) -> float:
    removed = [(case.corner, removed_error(case, strategy)) for case in cases]
    known = [(where, value) for where, value in removed if value is not None]
    mine = [value for where, value in known if where == corner]
    everywhere = fmean(value for _, value in known) if known else 0.0
    return (sum(mine) + BORROWED * everywhere) / (len(mine) + BORROWED)


def _between(cases: Iterable[Case], measured: Callable[[Evidence], float | None]) -> float:
    """Midway between the quartiles of similar and of different cases that face each other."""
    values: Mapping[str, list[float]] = {"similar": [], "different": []}
    for case in cases:
        value = measured(case.evidence)
        if value is not None:
            values[case.corner[1]].append(value)
    similar, different = (quantiles(found, n=4) if len(found) > 1 else found * 3 for found in values.values())
    above = fmean(values["different"]) > fmean(values["similar"])
    return (similar[2] + different[0]) / 2 if above else (similar[0] + different[2]) / 2


RULES = fit_rules(CASES)
"""Fitted to all cases."""
