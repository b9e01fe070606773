"""The quadrant: from evidence to a place in the table of size and similarity, and what follows. No torch.

The lecture's table is the prior; what won in measured cases (quadrant_cases.py) decides what is expected of each
strategy. Every threshold says which cases set it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

TABLE = {
    ("small", "similar"): "linear_probe",
    ("small", "different"): "stage_probe",
    ("large", "similar"): "finetune_few",
    ("large", "different"): "finetune_many",
}
"""The lecture's advice for each corner."""

PROBES = ("linear_probe", "stage_probe", "nearest_neighbor")
"""What trains no stage. Neighbours are the quickest to fit, but they keep every image, so at a tie they come last."""

FINETUNING = ("finetune_few", "finetune_many", "lp_ft", "retrain")

COST_ORDER = (*PROBES, *FINETUNING)
"""What the advisor chooses from, the cheapest first."""

# Size. A linear classifier has one weight for each feature and class: fewer images than features leave it undetermined,
# and a network the more. Ants and bees (244 images, 1280 features) and 20 digits a class (200, 192) behave as small;
# all digits (1079, 192) as large.
IMAGES_PER_FEATURE = 1.5
PER_CLASS = 50
SIZE_SLOPE = 1.4
"""Log-odds of "large" for each doubling."""

# Similarity: log-odds of "different", added up over the witnesses there are.
DISTANCE = 0.085
"""Divergence of activation statistics at which neither is likelier. Same source 0.001 to 0.013; natural photographs
through CIFAR networks 0.03, textures 0.05, blurred 0.07; medical scans 0.08 to 0.09; handwritten characters 0.13 to
0.16; digits through letters 0.06 to 0.09, fractals through letters 0.12 to 0.22, digits through fractals 0.36."""
DISTANCE_SLOPE, DISTANCE_MOST = 1.0, 2.5  # per doubling
PROBE_SKILL = 0.80
"""Probe accuracy, chance taken off, at which neither is likelier: photographs through ImageNet 0.93, bees through
insects 0.88; ants through birds 0.71, characters through ImageNet 0.65, medical scans 0.3 to 0.4."""
SKILL_SLOPE, SKILL_MOST = 5.0, 1.5  # per unit of skill
NEIGHBORS_SHARE = 0.9
"""Share of the probe's skill that nearest neighbours reach: ants and bees 0.97, characters 0.80."""
NEIGHBORS_SLOPE, NEIGHBORS_MOST = 6.0, 0.75  # per unit
COMPARABLE = 30  # judged on fewer images the best of several stages is so by luck (ants and bees, 5 per class)
DEPTH_MOST = 1.5  # a lower stage better than the top one by so many standard errors or more
DEPTH_TOP = -0.4  # the top stage is the best

GAINS: Mapping[tuple[str, str], Mapping[str, float]] = {
    corner: dict(zip(("stage_probe", *FINETUNING), gains, strict=True))
    for corner, gains in {
        ("small", "similar"): (0.0, -0.15, -0.2, -0.15, -0.3),
        ("small", "different"): (0.15, -0.05, 0.15, 0.17, 0.17),
        ("large", "similar"): (0.1, 0.2, 0.2, 0.2, 0.1),
        ("large", "different"): (0.3, 0.15, 0.4, 0.5, 0.65),
    }.items()
}
"""Part of the linear probe's error that a strategy is expected to remove; rounded means over the cases. In those of
large and similar data hardly an error is left, so these say little. `stage_probe` is for a best stage below the top;
`retrain` was measured through small networks and on ants and bees alone."""
LEARNABLE = 0.4
"""Skill of the probe below which a gain is scaled down: where the probe is hardly better than guessing, finetuning too
has little to start from (letters through fractals: skill 0.11 and 0.21, 5 and 17 % of the error removed)."""
GAIN_SPREAD = 0.25
"""Standard deviation of these parts over the cases."""

STAGE_SPREAD, NEIGHBORS_SPREAD = 0.2, 0.35
"""Standard deviation, over the cases, of what the best stage, and nearest neighbours, gain over the linear probe, as a
part of its error; the mean of the latter is nothing. What is measured counts the less the fewer images judged it."""

SURE, LIKELY = 0.85, 0.67
"""Probability of the corner from which it counts as clear, and as likely."""


def standard_error(share: float, n: int) -> float:
    """Of a share of `n`; never zero."""
    smoothed = (share * n + 1) / (n + 2)
    return math.sqrt(smoothed * (1 - smoothed) / max(n, 1))


def best_of(probes: Mapping[str, float]) -> str:
    """The stage with the highest accuracy; of equal ones the deepest, which comes last."""
    return max(reversed(list(probes)), key=lambda stage: probes[stage])


@dataclass(frozen=True)
class Evidence:
    """What was measured; None for what could not be.

    Attributes:
        images: Of train.
        classes: K.
        features: D of the top stage.
        judged: Images that the accuracies below were measured on: val, or train and val by cross-validation.
        probes: Top-1 of the linear probe of each stage, in order; the last is the top stage's.
        neighbors: Top-1 of nearest neighbours at the top stage, with the best of some metrics and k.
        distance: Of activation statistics from the source's, over all layers.
        early: The same over the first third of the layers: the input differs.
        late: The same over the last third: the content differs.
        pretrained: Whether the backbone has weights of a source at all.
    """

    images: int
    classes: int
    features: int
    judged: int
    probes: Mapping[str, float]
    neighbors: float | None = None
    distance: float | None = None
    early: float | None = None
    late: float | None = None
    pretrained: bool = True

    @property
    def per_class(self) -> float:
        """Training images per class, on average."""
        return self.images / self.classes

    @property
    def top(self) -> float:
        """Accuracy of the top stage's probe."""
        return list(self.probes.values())[-1]

    @property
    def best_stage(self) -> str:
        """The stage whose probe is best; of equal ones the deepest."""
        return best_of(self.probes)

    @property
    def standard_error(self) -> float:
        """Of the accuracy of the top stage's probe; never zero."""
        return standard_error(self.top, self.judged)

    @property
    def error(self) -> float:
        """Of the top stage's probe; where it makes no mistake there may still be one in other images."""
        return max(1 - self.top, 1 / (self.judged + 2))

    def skill(self, accuracy: float) -> float:
        """Accuracy with chance taken off: 0 is guessing, 1 perfect."""
        chance = 1 / max(self.classes, 2)
        return (accuracy - chance) / (1 - chance)


@dataclass(frozen=True)
class Verdict:
    """A place in the quadrant, and what follows.

    Attributes:
        size: "small" or "large".
        similarity: "similar" or "different".
        strategy: The lecture's for that corner.
        contenders: Strategy to expected top-1, in order of expected worth; of nearly equal ones the cheapest first.
        probability: Of this corner.
        sureness: That in words.
        large: Probability that the data are large.
        different: Probability that they are different.
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
        """The contender with the highest expected worth."""
        return next(iter(self.contenders))


EQUAL = 0.005
"""Expected differences of up to half a point count as none: the cheaper strategy goes first."""


def judge(evidence: Evidence) -> Verdict:
    """Place the evidence in the quadrant, and order the strategies by what is expected of them."""
    large, size_reason = _large(evidence)
    different, reasons = _different(evidence)
    size = "large" if large >= 0.5 else "small"
    similarity = "different" if different >= 0.5 else "similar"
    probability = max(large, 1 - large) * max(different, 1 - different)
    contenders = expected(evidence, large, different)
    return Verdict(
        size=size,
        similarity=similarity,
        strategy=TABLE[size, similarity],
        contenders=contenders,
        probability=probability,
        sureness=sureness(probability),
        large=large,
        different=different,
        reasons=[size_reason, *reasons, _headroom(evidence, next(iter(contenders)))],
    )


def sureness(probability: float) -> str:
    """How sure a corner is, in words."""
    return "clear" if probability >= SURE else "likely" if probability >= LIKELY else "open: near a border"


def gain_of(strategy: str, large: float, different: float) -> float:
    """Part of the linear probe's error that a finetuning strategy is expected to remove, over the four corners."""
    sizes, similarities = {"large": large, "small": 1 - large}, {"different": different, "similar": 1 - different}
    return sum(sizes[size] * similarities[kind] * gains[strategy] for (size, kind), gains in GAINS.items())


def expected(evidence: Evidence, large: float, different: float) -> dict[str, float]:
    """Expected top-1 of each strategy, the best first; what is nearly equal goes by cost."""
    best = evidence.probes[evidence.best_stage]
    worth = {"linear_probe": evidence.top, "stage_probe": evidence.top}
    if evidence.judged >= COMPARABLE and best > evidence.top:
        usual = gain_of("stage_probe", large, different) * evidence.error
        worth["stage_probe"] += _weighed(best - evidence.top, usual, STAGE_SPREAD, evidence)
    if evidence.neighbors is not None:
        # Expected are as many mistakes as the probe's.
        worth["nearest_neighbor"] = evidence.top + _weighed(
            evidence.neighbors - evidence.top, 0.0, NEIGHBORS_SPREAD, evidence
        )
    learnable = min(max(evidence.skill(evidence.top), 0.0) / LEARNABLE, 1.0)
    for strategy in FINETUNING:
        gain = gain_of(strategy, large, different)
        worth[strategy] = evidence.top + evidence.error * (gain * learnable if gain > 0 else gain)
    return _ordered(worth)


def _weighed(measured: float, usual: float, spread: float, evidence: Evidence) -> float:
    """The mean of the posterior: what was measured and what is usual, each weighed by its precision.

    Args:
        measured: Lead over the linear probe.
        usual: Its mean over the cases.
        spread: Its standard deviation there, as a part of the probe's error.
        evidence: How precisely it was measured.
    """
    variance = (spread * evidence.error) ** 2
    weight = variance / (variance + evidence.standard_error**2)
    return weight * measured + (1 - weight) * usual


def _ordered(worth: dict[str, float]) -> dict[str, float]:
    """The best first, but a cheaper one that is as good but for `EQUAL` before it."""
    ordered: dict[str, float] = {}
    while len(ordered) < len(worth):
        left = [name for name in COST_ORDER if name in worth and name not in ordered]
        best = max(worth[name] for name in left)
        first = next(name for name in left if worth[name] >= best - EQUAL)
        ordered[first] = worth[first]
    return ordered


def _large(evidence: Evidence) -> tuple[float, str]:
    """Probability that the data are large, and why."""
    per_feature = evidence.images / evidence.features
    doublings = min(math.log2(evidence.per_class / PER_CLASS), math.log2(per_feature / IMAGES_PER_FEATURE))
    large = _sigmoid(SIZE_SLOPE * doublings)
    reason = (
        f"{evidence.images:,} training images, {evidence.per_class:.3g} per class, {per_feature:.2g} for each of the "
        f"top stage's {evidence.features:,} features: {'large' if large >= 0.5 else 'small'} (from {PER_CLASS} per "
        f"class and {IMAGES_PER_FEATURE:g} per feature on it counts as large)."
    )
    return large, reason


def _different(evidence: Evidence) -> tuple[float, list[str]]:
    """Probability that the domain is different from the source's, and why."""
    if not evidence.pretrained:
        return 1.0, ["The backbone has random weights: there is no source to be similar to."]
    odds, reasons = 0.0, []
    for log_odds, reason in filter(None, (_by_distance(evidence), _by_depth(evidence), *_by_accuracy(evidence))):
        odds += log_odds
        reasons.append(f"{reason} ({_says(log_odds)}).")
    return _sigmoid(odds), reasons


def _by_distance(evidence: Evidence) -> tuple[float, str] | None:
    if evidence.distance is None:
        return None
    log_odds = _within(DISTANCE_SLOPE * math.log2(max(evidence.distance, 1e-4) / DISTANCE), DISTANCE_MOST)
    where = ""
    if evidence.early is not None and evidence.late is not None and evidence.distance > DISTANCE / 2:
        ratio = (evidence.early + 1e-4) / (evidence.late + 1e-4)
        where = ", more in the early layers: the input differs" if ratio > 1.5 else where
        where = ", more in the late layers: the content differs" if ratio < 1 / 1.5 else where
    return log_odds, (
        f"Activations lie {evidence.distance:.3f} from the source's batch-norm statistics{where}; {DISTANCE:g} is "
        "the border"
    )


def _by_depth(evidence: Evidence) -> tuple[float, str] | None:
    if evidence.judged < COMPARABLE:
        return None
    stage, names = evidence.best_stage, list(evidence.probes)
    lead = evidence.probes[stage] - evidence.top
    if stage == names[-1]:
        return DEPTH_TOP, f"Probes are best at the top stage, {stage} ({100 * evidence.top:.1f} %)"
    return _within(lead / evidence.standard_error, DEPTH_MOST), (
        f"Probes peak below the top, at {stage}: {100 * evidence.probes[stage]:.1f} against {100 * evidence.top:.1f} %"
        f", {lead / evidence.standard_error:.1f} standard errors"
    )


def _by_accuracy(evidence: Evidence) -> list[tuple[float, str]]:
    skill = evidence.skill(evidence.top)
    found = [
        (
            _within(SKILL_SLOPE * (PROBE_SKILL - skill), SKILL_MOST),
            f"The top stage's probe reaches {100 * evidence.top:.1f} %, {skill:.2f} with chance taken off",
        )
    ]
    if evidence.neighbors is not None and skill > 0.05:
        share = evidence.skill(evidence.neighbors) / skill
        found.append(
            (
                _within(NEIGHBORS_SLOPE * (NEIGHBORS_SHARE - share), NEIGHBORS_MOST),
                f"Nearest neighbours reach {100 * evidence.neighbors:.1f} %, {share:.2f} of the probe's skill",
            )
        )
    return found


def _headroom(evidence: Evidence, best: str) -> str:
    wrong = round((1 - evidence.top) * evidence.judged)
    if best in PROBES:
        return f"The probe gets {wrong} of {evidence.judged} images wrong; finetuning is not expected to help."
    return f"The probe gets {wrong} of {evidence.judged} images wrong; {best} is expected to remove some."


def _says(log_odds: float) -> str:
    kind = "different" if log_odds > 0 else "similar"
    size = abs(log_odds)
    return "says little" if size < 0.25 else f"speaks for {kind}" if size < 1 else f"speaks strongly for {kind}"


def _sigmoid(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds))


def _within(value: float, most: float) -> float:
    return max(-most, min(value, most))
