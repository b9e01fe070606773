"""How sure a share is that was counted on few images."""

from math import sqrt

Z_95 = 1.959963984540054  # the normal distribution holds 95 % between -Z_95 and Z_95


def wilson_interval(successes: int, n: int, z: float = Z_95) -> tuple[float, float]:
    """Return the bounds, in [0, 1], of the score interval of a binomial share; sound for few images too.

    Source: Wilson 1927, Probable Inference, the Law of Succession, and Statistical Inference.

    Args:
        successes: How many of the n.
        n: At least 1.
        z: Half-width in standard deviations; 95 % by default.
    """
    share = successes / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return max(0.0, centre - half), min(1.0, centre + half)
