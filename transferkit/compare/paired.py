"""Paired tests of two settings on the same test images, over one or several seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from transferkit.arrays import Doubles

DRAWS = 5000
"""Draws of a bootstrap: enough for the ends of an interval to vary by about a hundredth of its width."""


@dataclass(frozen=True)
class Difference:
    """The difference in accuracy of two settings, on the same images.

    Attributes:
        mean: The first minus the second, a fraction in [-1, 1].
        low: Lower end of the bootstrap interval.
        high: Upper end.
        p: Of the hypothesis that both are equally accurate.
        only_first: Predictions that only the first has right.
        only_second: Those that only the second has right.
        seeds: Pairs of runs.
    """

    mean: float
    low: float
    high: float
    p: float
    only_first: int
    only_second: int
    seeds: int


def compare_paired(blocks: Sequence[Doubles], confidence: float = 0.95) -> Difference:
    """Compare two settings by their differences on images.

    Args:
        blocks: An array (N, S) for each set of test images: of N images in S pairs of runs, 1 where only the first was
            right, -1 where only the second was, else 0. At least one pair.
        confidence: Of the interval.
    """
    first, second = (int(sum((block == sign).sum() for block in blocks)) for sign in (1, -1))
    seeds = sum(block.shape[1] for block in blocks)
    means = np.concatenate([block.mean(axis=0) for block in blocks])
    low, high = bootstrap_interval(blocks, confidence)
    return Difference(float(means.mean()), low, high, p_value(blocks), first, second, seeds)


def p_value(blocks: Sequence[Doubles]) -> float:
    """Return p of the hypothesis that both are equally accurate: exact for one pair of runs, over several a t test."""
    if sum(block.shape[1] for block in blocks) > 1:
        return clustered_t(blocks)
    return mcnemar(int((blocks[0] == 1).sum()), int((blocks[0] == -1).sum()))


def mcnemar(only_first: int, only_second: int) -> float:
    """Return p of the exact McNemar test: a binomial test of the images that one of two models has right.

    Source: McNemar 1947, Note on the sampling error of the difference between correlated proportions; computed by
    scipy.
    """
    from scipy.stats import binomtest  # scipy.stats takes half a second to import

    discordant = only_first + only_second
    return float(binomtest(only_first, discordant).pvalue) if discordant else 1.0


def clustered_t(blocks: Sequence[Doubles]) -> float:
    """Return p of a t test whose standard error counts both the images and the seeds as drawn at random.

    Predictions of several seeds on one image are alike, and so are those of one seed on several images, so that
    neither are independent. The variances of the mean over images and over seeds are added (Cameron, Gelbach and Miller
    2011, Robust Inference With Multiway Clustering, without the part that both share, which errs on the safe side),
    with the degrees of freedom of Satterthwaite 1946. Few seeds that differ much prove little.

    Args:
        blocks: As for `compare_paired`, with two pairs of runs at least.
    """
    from scipy.stats import t

    means = np.concatenate([block.mean(axis=0) for block in blocks])
    seeds, images = len(means), sum(len(block) for block in blocks)
    mean = float(means.mean())
    if mean == 0 or images < 2:
        return 1.0
    weights = [block.shape[1] / seeds for block in blocks]
    over_images = sum(
        w**2 * block.mean(axis=1).var(ddof=1) / len(block)
        for w, block in zip(weights, blocks, strict=True)
        if len(block) > 1
    )
    over_seeds = means.var(ddof=1) / seeds
    variance = float(over_images + over_seeds)
    if variance == 0:  # every image differs, and in the same direction
        return float(0.5 ** (images - 1))
    freedom = variance**2 / (over_images**2 / (images - 1) + over_seeds**2 / (seeds - 1))
    return float(2 * t.sf(abs(mean) / np.sqrt(variance), freedom))


def bootstrap_interval(blocks: Sequence[Doubles], confidence: float = 0.95, draws: int = DRAWS) -> tuple[float, float]:
    """Return the percentile interval of the mean difference: images are drawn anew, and seeds where there are several.

    Of S seeds S - 1 are drawn, which gives the variance of their mean without bias (McCarthy and Snowden 1985, The
    Bootstrap and Finite Population Sampling); images and seeds are drawn independently (Owen 2007, The Pigeonhole
    Bootstrap). The draws are the same in every call.

    Args:
        blocks: As for `compare_paired`.
        confidence: That the interval holds the true difference.
        draws: Number of draws.
    """
    rng = np.random.default_rng(0)
    means = []
    for block in blocks:
        # Equal rows are drawn together: images differ in at most 3^S ways, and in practice in few.
        patterns, counts = np.unique(block, axis=0, return_counts=True)
        means.append(rng.multinomial(len(block), counts / len(block), draws) @ patterns / len(block))
    drawn = np.concatenate(means, axis=1)
    seeds = drawn.shape[1]
    if seeds > 1:
        drawn = drawn * rng.multinomial(seeds - 1, np.full(seeds, 1 / seeds), draws) / (seeds - 1)
    rest = (1 - confidence) / 2
    low, high = np.quantile(drawn.sum(axis=1), [rest, 1 - rest])
    return float(low), float(high)


def holm(values: Sequence[float]) -> list[float]:
    """Return p values that are adjusted for their number, in the same order.

    Source: Holm 1979, A Simple Sequentially Rejective Multiple Test Procedure.
    """
    order = np.argsort(values, kind="stable")
    adjusted = np.empty(len(values))
    factors = np.arange(len(values), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * np.asarray(values, dtype=np.float64)[order]), 1)
    found: list[float] = adjusted.tolist()
    return found
