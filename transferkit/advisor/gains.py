"""The expected accuracy of each strategy, from its measured gain and from its gains in earlier cases."""

from collections.abc import Mapping

from transferkit.advisor.evidence import Evidence
from transferkit.advisor.thresholds import COMPARABLE

PROBES = ("linear_probe", "stage_probe", "nearest_neighbor")
"""Strategies that train no stage. Neighbours are the fastest to fit, but store every image, so in a tie they rank
last."""

FINETUNING = ("finetune_few", "finetune_many", "lp_ft", "retrain")

UNMEASURED = ("full_finetune", "bitfit", "lora")
"""Strategies that were not run in all kinds of cases, so that no gain can be expected of them: `auto` tries them after
those that the cases favour."""

SCRATCH = "from_scratch"
"""Strategy that `auto` tries, too, where images are many, small and unlike the source's (`choose.scratch_is_open`)."""

COST_ORDER = (*PROBES, *FINETUNING)
"""The strategies that the advisor chooses from, the cheapest first."""

Gains = Mapping[tuple[str, str], Mapping[str, float]]
"""Corner to the fraction of the linear probe's error that each strategy is expected to remove (`rules.fit_rules`)."""

LEARNABLE = 0.4
"""Skill of the probe below which a gain is scaled down: where the probe is hardly better than chance, finetuning gains
little too (letters through fractals: skill 0.11 and 0.21, 5 and 17 % of the error removed)."""

GAIN_SPREAD = 0.35
"""Standard deviation of the fraction of the error that finetuning removed, about what rules expect that were fitted
without the source network of the case (tests/advisor/test_rules.py)."""

STAGE_SPREAD, NEIGHBORS_SPREAD = 0.2, 0.35
"""Standard deviation, over the cases, of the gain of the best stage and of nearest neighbours over the linear probe, as
a fraction of its error; the mean gain of neighbours is zero. A measured gain has less weight the fewer images it was
measured on."""

EQUAL = 0.005
"""Expected differences of up to half a point are ignored: the cheaper strategy ranks first."""


def gain_of(gains: Gains, strategy: str, large: float, different: float) -> float:
    """Fraction of the linear probe's error that a strategy is expected to remove, averaged over the four corners.

    Args:
        gains: By corner.
        strategy: Its name.
        large: Probability that the data are large.
        different: Probability that they are different.
    """
    sizes, similarities = {"large": large, "small": 1 - large}, {"different": different, "similar": 1 - different}
    return sum(sizes[size] * similarities[kind] * corner[strategy] for (size, kind), corner in gains.items())


def expected(evidence: Evidence, large: float, different: float, gains: Gains) -> dict[str, float]:
    """Expected top-1 of each strategy, the best first; nearly equal ones in order of cost."""
    top1 = {"linear_probe": evidence.top, "stage_probe": evidence.top}
    if evidence.judged >= COMPARABLE and evidence.lead > 0:
        prior = gain_of(gains, "stage_probe", large, different) * evidence.error
        top1["stage_probe"] += _posterior_mean(evidence.lead, prior, STAGE_SPREAD, evidence)
    if evidence.neighbors is not None:
        lead = evidence.neighbors - evidence.top
        top1["nearest_neighbor"] = evidence.top + _posterior_mean(lead, 0.0, NEIGHBORS_SPREAD, evidence)
    learnable = min(max(evidence.skill(evidence.top), 0.0) / LEARNABLE, 1.0)
    for strategy in FINETUNING:
        gain = gain_of(gains, strategy, large, different)
        top1[strategy] = evidence.top + evidence.error * (gain * learnable if gain > 0 else gain)
    return _ranked(top1)


def _posterior_mean(measured: float, prior: float, spread: float, evidence: Evidence) -> float:
    """The mean of the measured and the usual gain over the linear probe, each weighted by its precision.

    Args:
        measured: Gain over the linear probe.
        prior: Its mean over the measured cases.
        spread: Its standard deviation there, as a fraction of the probe's error.
        evidence: Gives the precision of the measurement.
    """
    variance = (spread * evidence.error) ** 2
    weight = variance / (variance + evidence.standard_error**2)
    return weight * measured + (1 - weight) * prior


def _ranked(top1: dict[str, float]) -> dict[str, float]:
    """The best first, except that a cheaper strategy within `EQUAL` of the best of the rest ranks before it."""
    ranked: dict[str, float] = {}
    while len(ranked) < len(top1):
        left = [name for name in COST_ORDER if name in top1 and name not in ranked]
        best = max(top1[name] for name in left)
        first = next(name for name in left if top1[name] >= best - EQUAL)
        ranked[first] = top1[first]
    return ranked
