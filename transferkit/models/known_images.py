"""Whether an image is of any of the classes, by the distance of its features from those of training images."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from transferkit.models.conformal import quantile_place
from transferkit.probes.neighbors import nearest, prepare_rows

MOST_ROWS = 1000
"""Training images that are kept. With a hundredth of ImageNet results hardly change (Sun et al. 2022, section 5)."""


class KnownImages(nn.Module):
    """Distance to the nearest of some training images in feature space, and the largest at which an image is known.

    The distance is 1 minus the cosine of the angle between features: the k-th nearest neighbour of Sun et al. 2022,
    Out-of-Distribution Detection with Deep Nearest Neighbors, with k = 1, which was better than 5 and 10 with few
    images of a class. It needs at most `MOST_ROWS` rows of features. Class means (Lee et al. 2018) are fewer, but a
    class of several kinds of images has none that is like any of them; with their full covariance they were as good,
    and D x D numbers more (docs/predict.md).

    Args:
        rows: (R, D) features of training images.
        threshold: Largest distance of a known image.

    Attributes:
        rows: (R, D), of unit length.
    """

    rows: Tensor

    def __init__(self, rows: Tensor, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold
        self.register_buffer("rows", prepare_rows(rows, "cosine"))

    def forward(self, features: Tensor) -> Tensor:
        """Return the distance (N,), from 0 to 2, of features (N, D)."""
        distances, _ = nearest(features, self.rows, 1, "cosine")
        return distances[:, 0].square() / 2


def held_out_quantile(values: Sequence[float] | Tensor, share: float) -> float:
    """Return the value that a new one of the same kind exceeds with probability 1 - share at most.

    Where there are too few values for this share (`conformal.quantile_place`) it is the largest.
    """
    ordered = torch.as_tensor(values, dtype=torch.float64).sort().values
    place = min(quantile_place(len(ordered), share), len(ordered))
    return float(ordered[place - 1])
