"""The rules of the quadrant: from evidence to probabilities of size and similarity, and a recommendation. No torch.

The constants are in thresholds.py, what is fitted to cases in rules.py, the expected accuracies in gains.py, the
sentences in reasons.py.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from transferkit.advisor import thresholds
from transferkit.advisor.evidence import Evidence
from transferkit.advisor.gains import expected
from transferkit.advisor.reasons import reasons, sureness
from transferkit.advisor.rules import RULES, Rules

TABLE = {
    ("small", "similar"): "linear_probe",
    ("small", "different"): "stage_probe",
    ("large", "similar"): "finetune_few",
    ("large", "different"): "finetune_many",
}
"""The CS231n transfer-learning table: size and similarity of the data to strategy.

Source: Stanford CS231n, Transfer Learning notes (Fei-Fei Li, Karpathy, Johnson).
"""


@dataclass(frozen=True)
class Verdict:
    """A place in the quadrant, and the recommendation.

    Attributes:
        size: "small" or "large".
        similarity: "similar" or "different".
        strategy: The CS231n table's strategy for that corner.
        contenders: Strategy to expected top-1, the best first; of nearly equal ones the cheapest first.
        probability: Probability of this corner.
        sureness: The same in a word.
        large: Probability that the data are large.
        different: Probability that they are different from the source's.
        reasons: Sentences.
    """

    size: str
    similarity: str
    strategy: str
    contenders: Mapping[str, float]
    probability: float
    sureness: str
    large: float
    different: float
    reasons: list[str] = field(default_factory=list)

    @property
    def recommended(self) -> str:
        """The strategy with the highest expected accuracy."""
        return next(iter(self.contenders))


def judge(evidence: Evidence, rules: Rules = RULES) -> Verdict:
    """Place the evidence in the quadrant, and rank the strategies by their expected accuracy.

    Args:
        evidence: The measurements.
        rules: Fitted to cases.
    """
    large = probability_large(evidence)
    log_odds = similarity_log_odds(evidence, rules)
    different = _sigmoid(sum(log_odds.values())) if evidence.pretrained else 1.0
    size = "large" if large >= 0.5 else "small"
    similarity = "different" if different >= 0.5 else "similar"
    probability = max(large, 1 - large) * max(different, 1 - different)
    contenders = expected(evidence, large, different, rules.gains)
    return Verdict(
        size=size,
        similarity=similarity,
        strategy=TABLE[size, similarity],
        contenders=contenders,
        probability=probability,
        sureness=sureness(probability),
        large=large,
        different=different,
        reasons=reasons(evidence, size == "large", log_odds, next(iter(contenders))),
    )


def probability_large(evidence: Evidence) -> float:
    """Probability that the data are large: enough images per class and per feature."""
    doublings = min(
        math.log2(evidence.per_class / thresholds.PER_CLASS),
        math.log2(evidence.per_feature / thresholds.IMAGES_PER_FEATURE),
    )
    return _sigmoid(thresholds.SIZE_SLOPE * doublings)


def similarity_log_odds(evidence: Evidence, rules: Rules = RULES) -> dict[str, float]:
    """Log-odds that the domain is different from the source's, by measurement; those that are missing are left out."""
    if not evidence.pretrained:
        return {}
    found = {
        "distance": _distance(evidence, rules),
        "depth": _depth(evidence),
        "probe": _limited(
            thresholds.SKILL_SLOPE * (rules.probe_skill - evidence.skill(evidence.top)), thresholds.SKILL_MOST
        ),
        "neighbors": _neighbors(evidence, rules),
    }
    return {name: value for name, value in found.items() if value is not None}


def _distance(evidence: Evidence, rules: Rules) -> float | None:
    if evidence.distance is None:
        return None
    doublings = math.log2(max(evidence.distance, 1e-4) / rules.distance)
    return _limited(thresholds.DISTANCE_SLOPE * doublings, thresholds.DISTANCE_MOST)


def _depth(evidence: Evidence) -> float | None:
    if evidence.judged < thresholds.COMPARABLE:
        return None
    if evidence.lead <= 0:
        return thresholds.DEPTH_TOP
    return _limited(evidence.lead / evidence.standard_error, thresholds.DEPTH_MOST)


def _neighbors(evidence: Evidence, rules: Rules) -> float | None:
    share = evidence.neighbors_share
    if share is None:
        return None
    return _limited(thresholds.NEIGHBORS_SLOPE * (rules.neighbors_share - share), thresholds.NEIGHBORS_MOST)


def _sigmoid(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds))


def _limited(value: float, most: float) -> float:
    return max(-most, min(value, most))
