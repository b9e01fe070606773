"""Sets of classes that hold the true one with a given probability, from scores of images that were not fitted.

The sets are those of Sadinle, Lei and Wasserman 2019, Least Ambiguous Set-Valued Classifiers With Bounded Error Levels
(LAC): all classes with at least a certain probability. The bound is a quantile of 1 minus the probability of the true
class on held-out images: those of val (split conformal), or out of fold (cross-conformal, Vovk 2015, whose coverage is
guaranteed a little lower, and in practice is as asked).

MAPIE was weighed: it wraps scikit-learn estimators, which it calls to predict and pickles to save, where the model here
is a network and an artifact holds no pickles; of its method a quantile would be left to compute.
"""

from collections.abc import Sequence

import numpy as np

from transferkit.arrays import Doubles, Labels, Probabilities
from transferkit.errors import TransferkitError
from transferkit.targets.target import Target

MOST_SCORES = 10_000


def true_class_scores(probabilities: Probabilities, labels: Labels) -> Doubles:
    """Return 1 minus the probability of the true class, ascending; of very many, evenly spaced ones.

    Args:
        probabilities: (N, K) of images that were not fitted.
        labels: (N,).
    """
    scores = np.sort(1 - probabilities[np.arange(len(labels)), labels].astype(np.float64))
    if len(scores) <= MOST_SCORES:
        return scores
    return np.asarray(scores[np.linspace(0, len(scores) - 1, MOST_SCORES).round().astype(int)])


def quantile_place(n: int, share: float) -> int:
    """Return k, counted from 1, such that a new value is at most the k-th smallest of n with this probability.

    It is the ceil((n + 1) share)-th (Vovk et al. 2005, Algorithmic Learning in a Random World, section 2.2); above n
    where there are too few values for this share.
    """
    return int(np.ceil((n + 1) * share - 1e-9))


def least_probability(scores: Sequence[float] | Doubles, coverage: float) -> float:
    """Return the probability that a class in the set has at least; 0 where there are too few scores for the coverage.

    Args:
        scores: Of `true_class_scores`, n of them.
        coverage: Probability that the set holds the true class, in (0, 1).
    """
    place = quantile_place(len(scores), coverage)
    return 0.0 if place > len(scores) else 1 - float(np.sort(scores)[place - 1])


def bound_for(target: Target, scores: Doubles | None, coverage: float) -> float:
    """Return `least_probability` for a model's scores of held-out images.

    Raises:
        TransferkitError: The model predicts no classes, or has no scores.
    """
    if not target.soft_max:
        raise TransferkitError(f"coverage is for models of classes; this one predicts {target.words()}.")
    if scores is None:
        raise TransferkitError("The model has no scores of held-out images, which coverage needs: fit it again.")
    return least_probability(scores, coverage)


def class_set(probabilities: Probabilities, least: float) -> list[int]:
    """Return the classes with at least that probability (K,), the likeliest first; the likeliest in any case."""
    order = np.argsort(-probabilities, kind="stable")
    return [int(k) for k in order if probabilities[k] >= least - 1e-7] or [int(order[0])]
