"""Decisions of strategy=auto as pure functions: whether to try, what can be afforded, what a gain on val is worth."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from transferkit.advisor.quadrant import COMPARABLE, EQUAL, GAIN_SPREAD, PROBES, Evidence, Verdict

OPEN_POINTS = 0.01
"""Finetuning is worth a trial if it can plausibly be better than the best probe by a point, the slack of the goal."""


ABOUT = 0.9
"""Costs that differ by less than this factor count as equal: they are estimates."""


@dataclass(frozen=True)
class Budget:
    """Seconds that all of it may cost; counted in estimates, so that a resumed run decides as before.

    Attributes:
        limit: A share of what running every strategy is expected to cost.
        costs: Expected seconds by strategy.
    """

    limit: float
    costs: Mapping[str, float]

    def allows(self, trials: Iterable[tuple[str, float]], final: str) -> bool:
        """Whether the advice, trials (strategy, share of its length) and one full fit are within the limit."""
        spent = self.costs.get("stage_probe", 0.0) + sum(share * self.costs[name] for name, share in trials)
        return spent + (0.0 if final in PROBES else self.costs[final]) <= self.limit


def make_budget(costs: Mapping[str, float], share: float) -> Budget:
    """The budget for a share of the cost of running every strategy."""
    return Budget(share * sum(costs.values()), costs)


def best_probe(verdict: Verdict) -> str:
    """The probe that is expected to be better."""
    return next(name for name in verdict.contenders if name in PROBES)


def can_decide(val: int) -> bool:
    """Whether so many images of val can tell two models apart at all."""
    return val >= COMPARABLE


def worth_trying(evidence: Evidence, verdict: Verdict, val: int) -> list[str]:
    """Finetuning strategies in order of expected worth, if the best of them may be better than the best probe.

    Where val can decide it is enough that this is plausible; val will say. Where it cannot, a point has to be expected.

    Args:
        evidence: What was measured.
        verdict: What follows.
        val: Images of val.
    """
    tuned = [name for name in verdict.contenders if name not in PROBES]
    gain = max(verdict.contenders[name] for name in tuned) - verdict.contenders[best_probe(verdict)]
    plausible = gain + GAIN_SPREAD * evidence.error if can_decide(val) else gain
    return tuned if plausible >= OPEN_POINTS else []


def affordable(names: Sequence[str], budget: Budget, share: float, most: int) -> list[str]:
    """Those of the first `most` strategies that can be tried together, and the dearest of them then fitted in full.

    What could not be fitted even by itself does not count; of the others the dearest leave first, and of about equally
    dear ones the last. One that is left alone needs no trial.
    """
    alone = [name for name in names if name in budget.costs and budget.allows([], name)]
    chosen = alone[:most]
    while len(chosen) > 1:
        dearest = max(budget.costs[name] for name in chosen)
        if budget.allows([(name, share) for name in chosen], max(chosen, key=lambda name: budget.costs[name])):
            return chosen
        chosen.remove([name for name in chosen if budget.costs[name] >= ABOUT * dearest][-1])
    return alone[:1]


@dataclass(frozen=True)
class Gain:
    """What one model is better than another by, on val.

    Attributes:
        measured: Difference of top-1.
        standard_error: Of that, from the images on which they differ.
        expected: What the quadrant expected before.
        shrunk: Both weighed by their precision.
    """

    measured: float
    standard_error: float
    expected: float
    shrunk: float

    @property
    def worth_it(self) -> bool:
        """Whether it counts: more than half a point is left after weighing."""
        return self.shrunk > EQUAL


def weigh_gain(
    ours: npt.NDArray[np.floating],
    theirs: npt.NDArray[np.floating],
    labels: npt.NDArray[np.int64],
    expected: float = 0.0,
    spread: float = math.inf,
) -> Gain:
    """Compare two models on val.

    A small val decides little: the difference there is averaged with what was expected, each weighed by its precision
    (the mean of the posterior of a normal prior). Without a prior (`spread` infinite) a gain counts if it is larger
    than one standard error.

    Args:
        ours: Probabilities (N, K) of the dearer model.
        theirs: Of the cheaper one.
        labels: (N,).
        expected: Gain that was expected.
        spread: Standard deviation of such expectations.
    """
    difference = (ours.argmax(axis=1) == labels).astype(float) - (theirs.argmax(axis=1) == labels)
    n = len(labels)
    # One image more on which they differ, so that few images without a difference are not taken as certain.
    error = math.sqrt(float(np.square(difference).sum()) + 1) / n
    measured = float(difference.mean())
    if math.isinf(spread):
        return Gain(measured, error, expected, measured - error)
    weight = spread**2 / (spread**2 + error**2)
    return Gain(measured, error, expected, weight * measured + (1 - weight) * expected)


def expected_gain(evidence: Evidence, verdict: Verdict, name: str, over: str) -> tuple[float, float]:
    """What a strategy is expected to gain over another, and the standard deviation of that."""
    return verdict.contenders[name] - verdict.contenders[over], max(GAIN_SPREAD * evidence.error, EQUAL)
