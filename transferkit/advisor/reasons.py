"""Sentences that explain a place in the quadrant. The rules are in quadrant.py."""

from collections.abc import Mapping

from transferkit.advisor.evidence import Evidence
from transferkit.advisor.gains import PROBES
from transferkit.advisor.rules import RULES
from transferkit.advisor.thresholds import (
    IMAGES_PER_FEATURE,
    LAYERS_DIFFER,
    LIKELY,
    PER_CLASS,
    STRONG,
    SURE,
    WEAK,
)


def sureness(probability: float) -> str:
    """The certainty of a corner in a word."""
    return "clear" if probability >= SURE else "likely" if probability >= LIKELY else "uncertain"


def reasons(evidence: Evidence, large: bool, log_odds: Mapping[str, float], best: str) -> list[str]:
    """The sentences that explain a verdict.

    Args:
        evidence: The measurements.
        large: Whether the data count as large.
        log_odds: Of "different", by measurement, as `quadrant.similarity_log_odds` returns them.
        best: The recommended strategy.
    """
    if not evidence.pretrained:
        similarity = ["The backbone has random weights: there is no source to be similar to."]
    else:
        similarity = [f"{_MEASUREMENTS[name](evidence)}: {_strength(value)}." for name, value in log_odds.items()]
    return [_size(evidence, large), *similarity, _headroom(evidence, best)]


def _size(evidence: Evidence, large: bool) -> str:
    return (
        f"{evidence.images:,} training images, {evidence.per_class:.3g} per class, {evidence.per_feature:.2g} per "
        f"feature of the top stage ({evidence.features:,} features): {'large' if large else 'small'} (data sets with "
        f"at least {PER_CLASS} images per class and {IMAGES_PER_FEATURE:g} per feature count as large)."
    )


def _distance(evidence: Evidence) -> str:
    assert evidence.distance is not None
    where = ""
    if evidence.early is not None and evidence.late is not None and evidence.distance > RULES.distance / 2:
        ratio = (evidence.early + 1e-4) / (evidence.late + 1e-4)
        where = ", more in the early layers (the input differs)" if ratio > LAYERS_DIFFER else where
        where = ", more in the late layers (the content differs)" if ratio < 1 / LAYERS_DIFFER else where
    return (
        f"The activation statistics diverge by {evidence.distance:.3f} from the source's batch-norm statistics{where}; "
        f"the threshold is {RULES.distance:.2g}"
    )


def _depth(evidence: Evidence) -> str:
    stage, names = evidence.best_stage, list(evidence.probes)
    if stage == names[-1]:
        return f"The top stage, {stage}, has the best probe ({100 * evidence.top:.1f} %)"
    if evidence.lead <= 0:
        return f"No stage has a more accurate probe than the top stage, {names[-1]} ({100 * evidence.top:.1f} %)"
    return (
        f"The best probe is below the top stage, at {stage}: {100 * evidence.probes[stage]:.1f} against "
        f"{100 * evidence.top:.1f} %, a difference of {evidence.lead / evidence.standard_error:.1f} standard errors"
    )


def _probe(evidence: Evidence) -> str:
    skill = evidence.skill(evidence.top)
    return (
        f"The top stage's probe reaches {100 * evidence.top:.1f} %, {skill:.2f} on a scale from 0 (chance) to 1 "
        "(perfect)"
    )


def _neighbors(evidence: Evidence) -> str:
    assert evidence.neighbors is not None
    return (
        f"Nearest neighbours reach {100 * evidence.neighbors:.1f} %, {evidence.neighbors_share:.2f} of the probe's "
        "accuracy above chance"
    )


_MEASUREMENTS = {"distance": _distance, "depth": _depth, "probe": _probe, "neighbors": _neighbors}


def _headroom(evidence: Evidence, best: str) -> str:
    wrong = round((1 - evidence.top) * evidence.judged)
    mistakes = f"The probe misclassifies {wrong} of {evidence.judged} images"
    if best in PROBES:
        return f"{mistakes}; finetuning is not expected to help."
    return f"{mistakes}; {best} is expected to correct some of them."


def _strength(log_odds: float) -> str:
    if abs(log_odds) < WEAK:
        return "weak evidence"
    kind = "different" if log_odds > 0 else "similar"
    return f"evidence for {kind}" if abs(log_odds) < STRONG else f"strong evidence for {kind}"
