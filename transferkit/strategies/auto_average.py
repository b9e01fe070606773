"""strategy=auto on few images: whether the mean of several fitted strategies is better than the selected one.

The members are chosen from what was fitted anyway, by forward selection with replacement (Caruana et al. 2004, Ensemble
Selection from Libraries of Models, section 2). A member that is added to twice as often has twice the share.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from transferkit.advisor.choose import Gain, weigh_hits
from transferkit.arrays import Labels, Probabilities
from transferkit.folds import Fold, Ints, make_folds
from transferkit.metrics import at_temperature
from transferkit.strategies.fitted import OutOfFold
from transferkit.strategies.stops import choose_temperature, is_clear
from transferkit.targets.class_target import ClassTarget

MOST_MEMBERS = 3
"""An image goes through the network of every member."""

MOST_ADDED = 8
"""Members that are added, repeated ones counted again."""

_CLASSES = ClassTarget(())

PARTS = 5
"""The images are divided into so many parts, each predicted by members that were chosen on the others."""


@dataclass(frozen=True)
class Average:
    """The mean of several strategies' probabilities, compared with the selected strategy.

    Attributes:
        shares: Strategy to share of the mean, the largest first; they add up to one.
        gain: In accuracy over the selected strategy. Each image is predicted by a mean that was chosen without it.
        loss: By how much the loss is lower, in nats, over the same predictions.
        clear: Whether that exceeds its standard error.
        predictions: Out of fold, each of a mean that was chosen without the image, too.
    """

    shares: Mapping[str, float]
    gain: Gain
    loss: float
    clear: bool
    predictions: OutOfFold

    @property
    def wins(self) -> bool:
        """Whether the mean is taken: it is more accurate beyond the error, or as accurate and its loss clearly lower.

        The same order as everywhere (`ranking.rank`), with a preference for the single network: the mean costs as many
        forward passes as it has members.
        """
        return self.gain.worth_it or (self.gain.measured >= 0 and self.clear)

    def words(self) -> str:
        """The members and their shares: "67 % concat_probe, 33 % retrain"."""
        return ", ".join(f"{100 * share:.0f} % {name}" for name, share in self.shares.items())

    def facts(self) -> dict[str, Any]:
        """The entry of metrics.json."""
        figures = self.predictions.metrics()
        return {
            "shares": {name: round(share, 4) for name, share in self.shares.items()},
            "gain": round(self.gain.measured, 6),
            "standard_error": round(self.gain.standard_error, 6),
            "loss_lower_by": round(self.loss, 6),
            "loss_clear": self.clear,
            "top1": float(figures["top1"]),
            "nll": float(figures["nll"]),
            "taken": self.wins,
        }


def find_average(found: Mapping[str, OutOfFold], selected: str, groups: Ints, seed: int = 0) -> Average | None:
    """The mean of the selected strategy with others, by their predictions out of fold; None if none is better.

    Args:
        found: Strategy to its predictions, calibrated, on the same folds.
        selected: The strategy that is selected if no mean is better.
        groups: (N,) of train and val: images of the same content have the same number.
        seed: Of the parts.
    """
    names, labels, images, each = _on_same_images({selected: found[selected], **found})
    chosen = add_greedily(each, labels)
    if len(set(chosen)) == 1:
        return None
    folds = make_folds(labels, groups[images], seed=seed, splits=PARTS)
    if not folds:
        return None
    mean, judged = _chosen_without(each, labels, folds)
    ours, theirs = mean[judged], each[0][judged]
    gain = weigh_hits(_CLASSES.hits(ours, labels[judged]), _CLASSES.hits(theirs, labels[judged]))
    lower = _CLASSES.losses(theirs, labels[judged]) - _CLASSES.losses(ours, labels[judged])
    counts = Counter(chosen).most_common()
    shares = {names[member]: count / len(chosen) for member, count in counts}
    predictions = OutOfFold(ours, labels[judged], images[judged])
    return Average(shares, gain, float(lower.mean()), is_clear(lower), predictions)


def average_sentence(average: Average, selected: str) -> str:
    """Whether the mean is taken, and why, in a sentence."""
    gain = average.gain
    facts = (
        f"The mean of {average.words()} changed out-of-fold top-1 by {100 * gain.measured:+.1f} points against "
        f"{selected} (standard error {100 * gain.standard_error:.1f}), and the loss by {-average.loss:+.3f} "
        f"({'clearly lower' if average.clear else 'not clearly lower'})"
    )
    if not average.wins:
        return f"{facts}: {selected} alone is kept, since a mean has to be better by more than the error."
    return (
        f"{facts}: the mean is taken. An image goes through {len(average.shares)} networks; "
        "strategy.auto.average=false fits a single one, as task=export needs it."
    )


def add_greedily(each: Sequence[Probabilities], labels: Labels) -> list[int]:
    """Return the members of the mean, repeated ones several times: the first, and what lowers its loss when added.

    By the loss, since the accuracy on a few images rises by chance. In nine cases (benchmarks/small_auto.py) four means
    were taken, three of which were better on test than their first member, one 2.5 points worse.

    Args:
        each: Probabilities (N, K) of every candidate; the first is a member in any case.
        labels: (N,).
    """
    chosen = [0]
    lowest = _loss(each[0], labels)
    while len(chosen) <= MOST_ADDED:
        full = len(set(chosen)) == MOST_MEMBERS
        open_to = sorted(set(chosen)) if full else range(len(each))
        losses = {member: _loss(_mean(each, [*chosen, member]), labels) for member in open_to}
        member = min(losses, key=lambda one: losses[one])
        if losses[member] >= lowest:
            break
        lowest = losses[member]
        chosen.append(member)
    return chosen


def calibrated(found: OutOfFold) -> OutOfFold:
    """The predictions at the temperature that they choose."""
    temperature = choose_temperature(found.probabilities, found.labels)
    return OutOfFold(at_temperature(found.probabilities, temperature), found.labels, found.images)


def _loss(probabilities: Probabilities, labels: Labels) -> float:
    return round(float(_CLASSES.losses(probabilities, labels).mean()), 9)


def _mean(each: Sequence[Probabilities], members: Sequence[int]) -> Probabilities:
    mean: Probabilities = np.mean([each[member] for member in members], axis=0)
    return mean


def _chosen_without(each: Sequence[Probabilities], labels: Labels, folds: Sequence[Fold]) -> tuple[Probabilities, Ints]:
    """The predictions (N, K) of means that were chosen without the image, and the rows that have one."""
    mean = np.zeros_like(each[0])
    for rows, held in folds:
        chosen = add_greedily([one[rows] for one in each], labels[rows])
        mean[held] = _mean([one[held] for one in each], chosen)
    return mean, np.unique(np.concatenate([held for _, held in folds]))


def _on_same_images(found: Mapping[str, OutOfFold]) -> tuple[list[str], Labels, Ints, list[Probabilities]]:
    """Names, labels (N,), positions (N,) and probabilities (N, K) of each, for the images that all predict."""
    images = reduce(np.intersect1d, [one.images for one in found.values()])
    end = 1 + max(int(one.images.max()) for one in found.values())
    labels = np.zeros(end, dtype=np.int64)
    for one in found.values():
        labels[one.images] = one.labels
    each = [one.rows(0, end)[images] for one in found.values()]
    return list(found), labels[images], images, each
