"""How far a plan is carried out, and at which temperature it predicts, both chosen on held-out images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from transferkit.arrays import Doubles, Labels, Probabilities
from transferkit.metrics import SMALLEST
from transferkit.ranking import rank
from transferkit.targets.class_target import ClassTarget
from transferkit.targets.target import Target
from transferkit.training.plan import Phase, Plan

TEMPERATURES = (0.5, 10.0)
"""The range of `choose_temperature`."""


@dataclass(frozen=True)
class Stop:
    """A point in the course of a plan.

    Attributes:
        phases: Number of phases that are begun; 0 if nothing is trained.
        epochs: Of the last of them.
        share: Of the weights there, in their mean with those at the start (`strategies.wise_ft`).
    """

    phases: int = 0
    epochs: int = 0
    share: float = 1.0


def all_stops(plan: Plan) -> list[Stop]:
    """The start, and the end of every epoch of every phase."""
    epochs = [Stop(number + 1, epoch + 1) for number, phase in enumerate(plan.phases) for epoch in range(phase.epochs)]
    return [Stop(), *epochs]


def phases_until(plan: Plan, stop: Stop) -> list[tuple[Phase, int]]:
    """The phases that are begun, each with its number of epochs."""
    begun = plan.phases[: stop.phases]
    return [(phase, stop.epochs if phase is begun[-1] else phase.epochs) for phase in begun]


def choose_stop(course: Sequence[Probabilities], labels: Labels, target: Target | None = None) -> int:
    """Return the index of the chosen stop: the last one, unless an earlier one is clearly better.

    Training to the end is what the plan says, and a handful of images cannot tell its epochs apart. So an earlier stop
    is chosen only if its accuracy is higher by more than a standard error of the difference, over the same images; or
    at no lower accuracy, if its loss is lower by more than one.

    Args:
        course: Probabilities (N, K) at every stop, of images that were not fitted.
        labels: (N,).
        target: Says what is right, and the loss; None for classes.
    """
    target = target or ClassTarget(())
    right = np.stack([target.hits(p, labels) for p in course])
    losses = np.stack([target.losses(p, labels) for p in course])
    last = len(course) - 1
    better = [last]
    for stop in range(last):
        gain, loss = right[stop] - right[last], losses[last] - losses[stop]
        if is_clear(gain) or (gain.mean() >= 0 and is_clear(loss)):
            better.append(stop)
    return max(better, key=lambda stop: rank(right[stop].mean(), losses[stop].mean(), stop))


def is_clear(differences: Doubles) -> bool:
    """Whether the mean of paired differences (N,) is above its standard error; one image is never."""
    if len(differences) < 2:
        return False
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    return bool(differences.mean() > error * (1 + 1e-6) + SMALLEST)


def choose_temperature(probabilities: Probabilities, labels: Labels) -> float:
    """Return the temperature by which logits are divided for the lowest loss (Guo et al. 2017, On Calibration).

    Trained to the end, a network is too certain of images that it has not seen; this changes no prediction. Where the
    loss is not clearly lower, by more than a standard error over these images, it is 1: a few images tell little.

    Args:
        probabilities: (N, K) of images that were not fitted.
        labels: (N,).
    """
    logits = np.log(np.maximum(probabilities.astype(np.float64), SMALLEST))

    def losses(log_temperature: float) -> Doubles:
        found: Doubles = -log_softmax(logits / np.exp(log_temperature), axis=1)[np.arange(len(labels)), labels]
        return found

    def loss(log_temperature: float) -> float:
        # A normal prior of the logarithm, as much as one image: ten images that are all right would have it at 0.
        return float(losses(log_temperature).mean() + log_temperature**2 / (2 * len(labels)))

    lowest, highest = np.log(TEMPERATURES)
    best = float(minimize_scalar(loss, bounds=(lowest, highest), method="bounded").x)
    return float(np.exp(best)) if is_clear(losses(0.0) - losses(best)) else 1.0
