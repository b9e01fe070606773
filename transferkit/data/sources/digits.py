"""Handwritten digits, 1,797 gray images of 8 x 8, bundled with scikit-learn: needs no network."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from transferkit.data.imagedata import RawData
from transferkit.data.imageset import ImageSet


def load(cfg: Mapping[str, Any], seed: int) -> RawData:
    """Load the test part of NIST's digits as UCI distributes it (Alpaydin & Kaynak 1998); it comes without a split."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    return RawData([str(digit) for digit in range(10)], {"train": ImageSet.from_arrays(pixels, digits.target)})
