"""Decisions of strategy=auto as pure functions: which trials to run within the budget, and whether a gain counts."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from transferkit.advisor.evidence import Evidence
from transferkit.advisor.gains import EQUAL, GAIN_SPREAD, PROBES, SCRATCH, UNMEASURED
from transferkit.advisor.quadrant import Verdict
from transferkit.advisor.thresholds import COMPARABLE
from transferkit.report.facts import duration

OPEN_POINTS = 0.01
"""Finetuning gets a trial if it can plausibly be better than the best probe by a point."""


SMALL_SIDE = 64
"""Inputs of at most so many pixels a side are small: a network for them is trained from scratch in minutes."""

BUDGET, SCRATCH_BUDGET = 0.25, 0.5
"""Share of the cost of every strategy that `strategy.auto.budget=auto` allows; the second where training from scratch
is a candidate, which alone takes a sixth to a third of it."""

ABOUT = 0.9
"""Costs that differ by less than this factor count as equal: they are estimates."""


@dataclass(frozen=True)
class Outlook:
    """The part of the advice on which the choice among strategies depends.

    Attributes:
        evidence: The measurements.
        verdict: The place in the quadrant, with the expected accuracies.
        costs: Expected seconds by strategy.
    """

    evidence: Evidence
    verdict: Verdict
    costs: Mapping[str, float]


@dataclass(frozen=True)
class Budget:
    """The time limit of strategy=auto, in estimated seconds, so that a resumed run decides as before.

    Attributes:
        limit: A fraction of the expected cost of running every strategy.
        costs: Expected seconds by strategy.
    """

    limit: float
    costs: Mapping[str, float]

    def allows(self, trials: Iterable[tuple[str, float]], final: str) -> bool:
        """Whether the advice, trials (strategy, fraction of its length) and one full fit are within the limit."""
        spent = self.costs.get("stage_probe", 0.0) + sum(share * self.costs[name] for name, share in trials)
        return spent + (0.0 if final in PROBES else self.costs[final]) <= self.limit


def make_budget(costs: Mapping[str, float], share: float) -> Budget:
    """The budget for a fraction of the cost of running every strategy."""
    return Budget(share * sum(costs.values()), costs)


def best_probe(verdict: Verdict) -> str:
    """The probe with the highest expected accuracy."""
    return next(name for name in verdict.contenders if name in PROBES)


def can_decide(val: int) -> bool:
    """Whether val has enough images to compare two models on it."""
    return val >= COMPARABLE


def scratch_is_open(verdict: Verdict, sides: Sequence[int]) -> bool:
    """Whether training from scratch may be the best: images are many and unlike the source's, and inputs small.

    Pretraining then speeds up training rather than improving the result (He et al. 2019, Rethinking ImageNet
    Pre-training).

    Args:
        verdict: The place in the quadrant.
        sides: Of the network's inputs, in pixels.
    """
    return (verdict.size, verdict.similarity) == ("large", "different") and max(sides) <= SMALL_SIDE


def budget_share(given: float | str, scratch: bool) -> float:
    """Return the share of the cost of every strategy that may be spent; `scratch`: whether that is a candidate."""
    if isinstance(given, str):  # "auto"
        return SCRATCH_BUDGET if scratch else BUDGET
    return given


def worth_trying(evidence: Evidence, verdict: Verdict, tried: bool, scratch: bool = False) -> list[str]:
    """Finetuning strategies in order of expected accuracy, if the best of them may be better than the best probe.

    If they are tried on images held out, a plausible gain of a point is enough, and those follow of which no cases
    were measured; otherwise the gain has to be expected.

    Args:
        evidence: The measurements.
        verdict: The place in the quadrant, with the expected accuracies.
        tried: Whether there are enough such images.
        scratch: Whether training from scratch comes second, see `scratch_is_open`.
    """
    tuned = [name for name in verdict.contenders if name not in PROBES]
    gain = max(verdict.contenders[name] for name in tuned) - verdict.contenders[best_probe(verdict)]
    plausible = gain + GAIN_SPREAD * evidence.error if tried else gain
    if plausible < OPEN_POINTS:
        return []
    return [tuned[0], *([SCRATCH] if scratch else []), *tuned[1:], *UNMEASURED] if tried else tuned


def too_expensive(names: Sequence[str], budget: Budget) -> dict[str, float]:
    """The strategies that cannot be fitted within the budget, even without any trial, with their expected seconds."""
    return {name: budget.costs[name] for name in names if name in budget.costs and not budget.allows([], name)}


def skipped_text(skipped: Mapping[str, float]) -> str:
    """Name strategies for which there is no time in the budget; empty for none."""
    if not skipped:
        return ""
    return "no time for " + ", ".join(f"{name} ({duration(seconds)} expected)" for name, seconds in skipped.items())


def affordable(names: Sequence[str], budget: Budget, share: float, most: int) -> list[str]:
    """The first `most` strategies whose trials, and a full fit of the most expensive one, are within the budget.

    Those that are `too_expensive` are skipped. Of the others the most expensive are dropped first,
    of about equally expensive ones the last. A single remaining strategy needs no trial.
    """
    skipped = too_expensive(names, budget)
    alone = [name for name in names if name in budget.costs and name not in skipped]
    chosen = alone[:most]
    while len(chosen) > 1:
        most_expensive = max(budget.costs[name] for name in chosen)
        if budget.allows([(name, share) for name in chosen], max(chosen, key=lambda name: budget.costs[name])):
            return chosen
        chosen.remove([name for name in chosen if budget.costs[name] >= ABOUT * most_expensive][-1])
    return alone[:1]


@dataclass(frozen=True)
class Spending:
    """Measured seconds of strategies that were fitted, and what the others are expected to take.

    Attributes:
        costs: Estimated seconds by strategy.
        share: Of the cost of every strategy that may be spent.
        measured: Seconds of those that were fitted.
    """

    costs: Mapping[str, float]
    share: float
    measured: Mapping[str, float]

    @property
    def ratio(self) -> float:
        """Measured over estimated seconds, by which the other estimates are corrected."""
        known = [name for name in self.measured if self.costs.get(name)]
        return sum(self.measured[name] for name in known) / sum(self.costs[name] for name in known) if known else 1.0

    @property
    def limit(self) -> float:
        """Seconds that may be spent: a share of every strategy's, measured where known."""
        return self.share * sum(self.measured.get(name, self.ratio * cost) for name, cost in self.costs.items())

    def expected(self, name: str) -> float:
        """Seconds that a strategy is expected to take."""
        return self.ratio * self.costs[name]

    def allows(self, name: str) -> bool:
        """Whether another strategy can be fitted within the limit."""
        return sum(self.measured.values()) + self.expected(name) <= self.limit


@dataclass(frozen=True)
class Gain:
    """The gain of one model over another, on val.

    Attributes:
        measured: Difference of top-1.
        standard_error: Of the difference, from the images on which they differ.
        expected: Difference of the expected accuracies.
        shrunk: Mean of both, weighted by their precision.
    """

    measured: float
    standard_error: float
    expected: float
    shrunk: float

    @property
    def worth_it(self) -> bool:
        """Whether the weighted gain exceeds half a point."""
        return self.shrunk > EQUAL

    def sentence(self, changed: str, against: str = "") -> str:
        """The gain in words: `changed` by so many points, measured, expected and weighted."""
        return (
            f"{changed} by {100 * self.measured:+.1f} points{against} (standard error "
            f"{100 * self.standard_error:.1f}, expected {100 * self.expected:+.1f}), weighted {100 * self.shrunk:+.1f}"
        )


def weigh_gain(
    ours: npt.NDArray[np.floating],
    theirs: npt.NDArray[np.floating],
    labels: npt.NDArray[np.int64],
    expected: float = 0.0,
    spread: float = math.inf,
) -> Gain:
    """Compare two models on val.

    On a small val the difference is imprecise: it is averaged with the expected gain, each weighted by its precision
    (the posterior mean under a normal prior). Without a prior (`spread` infinite) a gain counts if it is larger
    than one standard error.

    Args:
        ours: Probabilities (N, K) of the more expensive model.
        theirs: Of the cheaper one.
        labels: (N,).
        expected: Expected gain.
        spread: Standard deviation of expected gains.
    """
    return weigh_hits((ours.argmax(axis=1) == labels) * 1.0, (theirs.argmax(axis=1) == labels) * 1.0, expected, spread)


def weigh_hits(
    ours: npt.NDArray[np.floating], theirs: npt.NDArray[np.floating], expected: float = 0.0, spread: float = math.inf
) -> Gain:
    """As `weigh_gain`, from the share of predictions (N,) of each image that are correct."""
    difference = ours - theirs
    n = len(difference)
    # One more image on which they differ, so that the error is not zero for a few images without a difference.
    error = math.sqrt(float(np.square(difference).sum()) + 1) / n
    measured = float(difference.mean())
    if math.isinf(spread):
        return Gain(measured, error, expected, measured - error)
    weight = spread**2 / (spread**2 + error**2)
    return Gain(measured, error, expected, weight * measured + (1 - weight) * expected)


def expected_gain(evidence: Evidence, verdict: Verdict, name: str, over: str) -> tuple[float, float]:
    """Expected gain of a strategy over another, and its standard deviation; that of unmeasured ones is of the probe."""
    top1 = verdict.contenders.get(name, evidence.top)
    return top1 - verdict.contenders[over], max(GAIN_SPREAD * evidence.error, EQUAL)
