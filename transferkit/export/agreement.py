"""Comparing what an exported file predicts with what the model predicts, on the same images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from transferkit.data.imageset import ImageSet
from transferkit.errors import TransferkitError
from transferkit.models.transfer_model import TransferModel
from transferkit.targets.regression_target import RegressionTarget
from transferkit.targets.target import Outputs, Target

TOLERANCE = 1e-3
"""Difference of a probability, or of a standardised value, from which predictions count as others."""

FEW = 0.05
"""Share of images that may differ by more: neighbours at equal distances change places when sums are rounded."""

PART = 16
"""Images per forward pass."""

Predict = Callable[[Tensor], Outputs]
"""From preprocessed images (N, 3, H, W) to the target's outputs (N, K): probabilities, or values."""


@dataclass(frozen=True)
class Compared:
    """Images to compare on.

    Attributes:
        inputs: (N, 3, H, W), preprocessed.
        expected: (N, K), what the fitted model predicts for them.
        origin: Where the images come from, in words.
        units: (K,), the differences that count as 1: the standard deviations of values; None for probabilities.
    """

    inputs: Tensor
    expected: Outputs
    origin: str
    units: tuple[float, ...] | None = None

    @property
    def difference_words(self) -> str:
        """Name the output whose differences are measured."""
        return "probability" if self.units is None else "value, in standard deviations"


def network_predict(network: nn.Module, target: Target) -> Predict:
    """Return the predictions of a network of torch that gives the logits of a target."""

    @torch.inference_mode()
    def predict(inputs: Tensor) -> Outputs:
        logits = torch.cat([network(part) for part in torch.split(inputs, PART)])
        found: Outputs = target.outputs(logits).numpy()
        return found

    return predict


def compared_images(model: TransferModel, images: Sequence[Image.Image], origin: str) -> Compared:
    """Preprocess and predict the images to compare on.

    Args:
        model: In eval mode.
        images: N of them.
        origin: Where they come from, in words.
    """
    inputs = torch.stack([model.preprocess(image) for image in images])
    units = model.target.std if isinstance(model.target, RegressionTarget) else None
    return Compared(inputs, network_predict(model, model.target)(inputs), origin, units)


def some_images(images: ImageSet, count: int) -> list[Image.Image]:
    """Return so many images of a set, evenly spaced."""
    places = np.unique(np.linspace(0, len(images) - 1, count).round().astype(int))
    return [images.image(int(place)) for place in places]


def photographs(count: int) -> list[Image.Image]:
    """Return parts of the two photographs that scikit-learn brings, for models whose data cannot be read here."""
    from sklearn.datasets import load_sample_images

    rng, found = np.random.default_rng(0), []
    for photograph in (Image.fromarray(pixels) for pixels in load_sample_images().images * ((count + 1) // 2)):
        side = int(rng.integers(100, 400))
        left, top = (int(rng.integers(0, length - side)) for length in photograph.size)
        found.append(photograph.crop((left, top, left + side, top + side)))
    return found[:count]


def largest_difference(compared: Compared, predict: Predict, what: str) -> float:
    """Return the largest difference of a probability, or standardised value, between the model and an exported file.

    Args:
        compared: The images.
        predict: The exported file's predictions; it is called with two batch sizes.
        what: The file, for messages.

    Raises:
        TransferkitError: More than a few images differ: the file computes something else.
    """
    inputs = compared.inputs
    found = np.concatenate([predict(part) for part in (inputs[:1], inputs[1:]) if len(part)])
    differences = (np.abs(found - compared.expected) / (compared.units or 1.0)).max(axis=1)
    share = float((~(differences <= TOLERANCE)).mean())  # a nan differs, too
    if share > FEW:
        raise TransferkitError(
            f"{what} predicts something else than the model: for {100 * share:.0f} % of {len(inputs)} images "
            f"({compared.origin}) a {compared.difference_words} differs by more than {TOLERANCE}, at most by "
            f"{differences.max():.3g}. Its runtime computes an operation of this network differently; "
            "choose another export.format."
        )
    return float(differences.max())
