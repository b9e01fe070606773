"""Confidence interval of an accuracy."""


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the bounds, in [0, 1], of the score interval of a binomial share; sound for few images too.

    Source: Wilson 1927, Probable Inference, the Law of Succession, and Statistical Inference; computed by scipy.

    Args:
        successes: How many of the n.
        n: At least 1.
        confidence: That the interval holds the true share.
    """
    from scipy.stats import binomtest  # scipy.stats takes half a second to import

    interval = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)
