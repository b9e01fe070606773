"""Images that are unlike the others of the set in size, shape, contrast or kind of colour."""

from collections import Counter

import numpy as np

from transferkit.quality.image_facts import ImageFacts
from transferkit.quality.problems import AllImages, Problem

TINY = 4
"""An image is tiny if its shorter side is so many times shorter than the median."""

ELONGATED, ELONGATED_MORE = 3.0, 2.0
"""Ratio of the sides of an elongated image; and how many times that of the median image it is."""

CONSTANT = 3.0
"""Standard deviation of the gray levels, of 255, up to which an image is nearly constant."""

RARE = 0.05
"""Share of the images up to which a kind of colour is rare."""


def odd_problems(images: AllImages, facts: ImageFacts) -> list[Problem]:
    """The odd images, those of each kind together and the oddest first."""
    short, long = facts.sizes.min(axis=1), facts.sizes.max(axis=1)
    ratios = long / np.maximum(short, 1)
    sides = [f"{width} x {height} pixels" for width, height in facts.sizes.tolist()]
    counts = Counter(facts.kinds)
    shares = np.array([counts[kind] / len(facts.kinds) for kind in facts.kinds])
    tiny = np.flatnonzero(short < np.median(short) / TINY)
    elongated = np.flatnonzero((ratios > ELONGATED) & (ratios > ELONGATED_MORE * np.median(ratios)))
    constant = np.flatnonzero(facts.deviations <= CONSTANT)
    rare = np.flatnonzero(shares <= RARE)
    found = []
    for kind, rows, scores, notes in (
        ("tiny", tiny[np.argsort(short[tiny], kind="stable")], short, sides),
        ("elongated", elongated[np.argsort(-ratios[elongated], kind="stable")], ratios, sides),
        ("constant", constant[np.argsort(facts.deviations[constant], kind="stable")], facts.deviations, sides),
        ("colour", rare[np.argsort(shares[rare], kind="stable")], shares, facts.kinds),
    ):
        found += [Problem(kind, row, images.label(row), float(scores[row]), note=notes[row]) for row in rows.tolist()]
    return found
