"""Accuracies of several networks on the same images, their paired differences, and the choice among them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from transferkit.advisor.choose import weigh_hits
from transferkit.advisor.measure import CS, find_neighbors
from transferkit.advisor.network_costs import NetworkCost
from transferkit.advisor.network_prior import prior_rank
from transferkit.arrays import Doubles, Features, Labels
from transferkit.folds import Fold
from transferkit.metrics import wilson_interval
from transferkit.probes.fold_scores import score_classifiers
from transferkit.probes.logistic.basis import Stack
from transferkit.probes.scaling import ShrunkScaler
from transferkit.ranking import rank

TOP, ALL = "top", "all"

WITHIN = 2.0
"""Standard errors below which a difference is within the error."""

CHEAPER = 0.9
"""Seconds that differ by less than this factor count as equal: they are measured with few images."""


@dataclass(frozen=True)
class Probed:
    """A linear probe over folds.

    Attributes:
        C: The best of the advisor's values, by `ranking.rank`.
        top1: Accuracy.
        nll: Negative log-likelihood, nats.
        hits: (M,) of each evaluated image the share of the repeats in which it was classified correctly.
    """

    C: float
    top1: float
    nll: float
    hits: Doubles = field(repr=False)


@dataclass(frozen=True)
class NetworkScore:
    """A network, as measured.

    Attributes:
        name: As it was given.
        weights: Their name.
        probes: The probe on the top stage (`TOP`), and that on all stages side by side (`ALL`).
        neighbors: Accuracy of nearest neighbours at the top stage, with the best metric and k.
        cost: Time, parameters, memory.
        published: Top-1 of its weights on ImageNet, in [0, 1]; None if unknown.
        random: Whether the weights are random, so that nothing was expected of the network.
    """

    name: str
    weights: str
    probes: Mapping[str, Probed]
    neighbors: float
    cost: NetworkCost
    published: float | None = None
    random: bool = False

    @property
    def features(self) -> str:
        """`TOP` or `ALL`, whichever has the better probe."""
        return max(self.probes, key=lambda name: rank(self.probes[name].top1, self.probes[name].nll))

    @property
    def best(self) -> Probed:
        """The better probe."""
        return self.probes[self.features]

    @property
    def judged(self) -> int:
        """Number of images that the accuracies were measured on."""
        return len(self.best.hits)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the accuracy (Wilson); repeats do not make it narrower."""
        return wilson_interval(round(self.best.top1 * self.judged), self.judged)


@dataclass(frozen=True)
class Difference:
    """The difference of two accuracies on the same images.

    Attributes:
        mean: Of top-1.
        standard_error: From the images on which they differ.
    """

    mean: float
    standard_error: float

    @property
    def within_error(self) -> bool:
        """Whether it is less than two standard errors."""
        return abs(self.mean) < WITHIN * self.standard_error


def probe_folds(features: Features, labels: Labels, folds: Sequence[Fold]) -> Probed:
    """Logistic regression over the folds, with the best C.

    Args:
        features: (N, D).
        labels: (N,) from 0; each class is among the fitted rows of every fold.
        folds: As `folds.find_chooser` returns them.
    """
    scores = score_classifiers(Stack([features]), labels, folds, ShrunkScaler(), {"logistic": CS})
    best = max(scores, key=lambda score: rank(score.top1, score.nll))
    return Probed(best.C, best.top1, best.nll, best.hits.astype(np.float64))


def score_features(
    features: Mapping[str, Features], labels: Labels, folds: Sequence[Fold]
) -> tuple[dict[str, Probed], float]:
    """The probes of a network, and the accuracy of nearest neighbours.

    Args:
        features: (N, D) by stage, in the order of the network.
        labels: (N,).
        folds: As for `probe_folds`.
    """
    top = list(features.values())[-1]
    probes = {TOP: probe_folds(top, labels, folds)}
    if len(features) > 1:
        probes[ALL] = probe_folds(np.concatenate(list(features.values()), axis=1), labels, folds)
    return probes, find_neighbors(top, labels, list(folds)).val_top1


def ranked(scores: Sequence[NetworkScore]) -> list[NetworkScore]:
    """The networks, the best first (`ranking.rank`)."""
    return sorted(scores, key=lambda score: rank(score.best.top1, score.best.nll), reverse=True)


def difference(first: NetworkScore, second: NetworkScore) -> Difference:
    """The accuracy of the first minus that of the second, paired over the images."""
    gain = weigh_hits(first.best.hits, second.best.hits)
    return Difference(gain.measured, gain.standard_error)


def cheapest_within_error(scores: Sequence[NetworkScore]) -> NetworkScore:
    """The cheapest network among the best and those within one standard error of it; the best unless one is cheaper.

    Args:
        scores: As `ranked` returns them.
    """
    best, *others = scores
    close = [
        other
        for other in others
        for behind in [difference(best, other)]
        if behind.mean <= behind.standard_error and other.cost.total < CHEAPER * best.cost.total
    ]
    return min(close, key=lambda score: score.cost.total, default=best)


def best_by_prior(scores: Sequence[NetworkScore]) -> NetworkScore | None:
    """The network expected to be best before anything is measured; None if all have random weights."""
    known = [score for score in scores if not score.random]
    return max(known, key=lambda score: prior_rank(score.published, score.cost.parameters), default=None)
