"""Decisions of strategy=auto as pure functions: whether to try, what can be afforded, what a gain on val is worth."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from transferkit.quadrant import EQUAL, GAIN_SPREAD, Evidence, Verdict

PROBES = ("linear_probe", "stage_probe")

OPEN_POINTS = 0.01
"""Finetuning is worth a trial if it can plausibly be better than the best probe by a point, the slack of the goal."""


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


def worth_trying(evidence: Evidence, verdict: Verdict) -> list[str]:
    """Finetuning strategies in order of expected worth, if the best of them may be better than the best probe."""
    tuned = [name for name in verdict.contenders if name not in PROBES]
    upside = GAIN_SPREAD * max(1 - evidence.top, 1 / (evidence.judged + 2))
    most = max(verdict.contenders[name] for name in tuned) + upside
    return tuned if most - verdict.contenders[best_probe(verdict)] >= OPEN_POINTS else []


def affordable(names: Sequence[str], budget: Budget, share: float, most: int) -> list[str]:
    """Those of the first `most` strategies that can be tried together, and the dearest of them then fitted in full.

    The dearest leave first. One that is left alone needs no trial: it is asked for with share 0.
    """
    chosen = [name for name in names if name in budget.costs][:most]
    while chosen:
        dearest = max(chosen, key=lambda name: budget.costs[name])
        tried = [(name, share) for name in chosen] if len(chosen) > 1 else []
        if budget.allows(tried, dearest):
            return chosen
        chosen.remove(dearest)
    return []


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
    error = max(1 - evidence.top, 1 / (evidence.judged + 2))
    return verdict.contenders[name] - verdict.contenders[over], max(GAIN_SPREAD * error, EQUAL)
