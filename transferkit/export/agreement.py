"""Comparing what an exported file predicts with what the model predicts, on the same images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from transferkit.arrays import Probabilities
from transferkit.data.imageset import ImageSet
from transferkit.errors import TransferkitError
from transferkit.models.transfer_model import TransferModel

TOLERANCE = 1e-3
"""Difference of a probability from which predictions count as others."""

FEW = 0.05
"""Share of images that may differ by more: neighbours at equal distances change places when sums are rounded."""

PART = 16
"""Images per forward pass."""

Predict = Callable[[Tensor], Probabilities]
"""From preprocessed images (N, 3, H, W) to probabilities (N, K)."""


@dataclass(frozen=True)
class Compared:
    """Images to compare on.

    Attributes:
        inputs: (N, 3, H, W), preprocessed.
        expected: (N, K), what the fitted model predicts for them.
        origin: Where the images come from, in words.
    """

    inputs: Tensor
    expected: Probabilities
    origin: str


def network_predict(network: nn.Module) -> Predict:
    """Return the predictions of a network of torch that gives logits."""

    @torch.inference_mode()
    def predict(inputs: Tensor) -> Probabilities:
        logits = torch.cat([network(part) for part in torch.split(inputs, PART)])
        found: Probabilities = logits.softmax(dim=1).numpy()
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
    return Compared(inputs, network_predict(model)(inputs), origin)


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
    """Return the largest difference of a probability between the model and an exported file.

    Args:
        compared: The images.
        predict: The exported file's predictions; it is called with two batch sizes.
        what: The file, for messages.

    Raises:
        TransferkitError: More than a few images differ: the file computes something else.
    """
    inputs = compared.inputs
    found = np.concatenate([predict(part) for part in (inputs[:1], inputs[1:]) if len(part)])
    differences = np.abs(found - compared.expected).max(axis=1)
    share = float((~(differences <= TOLERANCE)).mean())  # a nan differs, too
    if share > FEW:
        raise TransferkitError(
            f"{what} predicts something else than the model: probabilities of {100 * share:.0f} % of {len(inputs)} "
            f"images ({compared.origin}) differ by more than {TOLERANCE}, at most by {differences.max():.3g}. Its "
            "runtime computes an operation of this network differently; choose another export.format."
        )
    return float(differences.max())
