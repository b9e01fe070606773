"""The evidence for a place in the quadrant: what was measured about a data set and a backbone, as plain numbers."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from transferkit.ranking import best_stage


def standard_error(share: float, n: int) -> float:
    """Standard error of a fraction measured on `n` images; smoothed, so that it is never zero."""
    smoothed = (share * n + 1) / (n + 2)
    return math.sqrt(smoothed * (1 - smoothed) / max(n, 1))


@dataclass(frozen=True)
class Evidence:
    """Measurements on train and val; None for those that were not possible.

    Attributes:
        images: Training images.
        classes: K.
        features: D of the top stage.
        judged: Number of images that the accuracies below were measured on: val, or train and val by cross-validation.
        probes: Top-1 of the linear probe of each stage, in order; the last is the top stage's.
        neighbors: Top-1 of nearest neighbours at the top stage, with the best metric and k.
        distance: Divergence of the activation statistics from the source's, over all layers.
        early: The same over the first third of the layers: the input differs.
        late: The same over the last third: the content differs.
        pretrained: Whether the backbone has pretrained weights.
        losses: Negative log-likelihood of the stages' probes, nats; where unknown, equal for all.
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
    losses: Mapping[str, float] = field(default_factory=dict)

    @property
    def per_class(self) -> float:
        """Training images per class, on average."""
        return self.images / self.classes

    @property
    def per_feature(self) -> float:
        """Training images per feature of the top stage."""
        return self.images / self.features

    @property
    def top(self) -> float:
        """Accuracy of the top stage's probe."""
        return list(self.probes.values())[-1]

    @property
    def best_stage(self) -> str:
        """The stage whose probe ranks first (`ranking.rank`)."""
        return best_stage(
            {name: {"val_top1": top1, "val_nll": self.losses.get(name, 0.0)} for name, top1 in self.probes.items()}
        )

    @property
    def lead(self) -> float:
        """Accuracy of the best stage's probe minus that of the top stage's."""
        return round(self.probes[self.best_stage] - self.top, 9)  # 0 where only the loss decided

    @property
    def standard_error(self) -> float:
        """Standard error of the accuracy of the top stage's probe; never zero."""
        return standard_error(self.top, self.judged)

    @property
    def error(self) -> float:
        """Error rate of the top stage's probe, at least that of one mistake on slightly more images."""
        return max(1 - self.top, 1 / (self.judged + 2))

    def skill(self, accuracy: float) -> float:
        """Accuracy rescaled so that 0 is chance and 1 is perfect."""
        chance = 1 / max(self.classes, 2)
        return (accuracy - chance) / (1 - chance)

    @property
    def neighbors_share(self) -> float | None:
        """Skill of nearest neighbours as a fraction of the probe's; None if unmeasured or the probe is near chance."""
        skill = self.skill(self.top)
        if self.neighbors is None or skill <= LEAST_SKILL:
            return None
        return self.skill(self.neighbors) / skill


LEAST_SKILL = 0.05
"""Skill of the probe below which a ratio to it means nothing."""
