"""Augmentation of training images: transforms by name, as in the `augment` group."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import functional, v2

from transferkit.config.augment_keys import EIGENVALUES, EIGENVECTORS
from transferkit.config.schema import check_transforms
from transferkit.data.preprocess import INTERPOLATIONS, Preprocessing
from transferkit.errors import TransferkitError

CROPS = ("random_resized_crop", "random_crop", "resize")
"""Transforms whose result is of the network's size unless they are given another."""


@dataclass(frozen=True)
class Augment:
    """Random changes of an image.

    Attributes:
        change: All of them; every random number comes from torch's global generator.
        cropped: Whether the result is what the network sees, so that it is not resized and cropped once more: a second
            crop would enlarge what a random crop has enlarged already.
    """

    change: Callable[[Image.Image], Image.Image]
    cropped: bool = False

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return the changed image."""
        return self.change(image)

    def pixels(self, image: Image.Image, preprocess: Callable[[Image.Image], Tensor]) -> Tensor:
        """Return the input (3, H, W) from an image that has been changed: uint8 if it is of the right size.

        Args:
            image: The result of this augmentation.
            preprocess: From an image to the input, for the others.
        """
        pixels: Tensor = functional.pil_to_tensor(image) if self.cropped else preprocess(image)
        return pixels


def shortest_side(size: Sequence[int], scale: Sequence[float] = (8 / 7, 16 / 7), **keys: Any) -> v2.Transform:
    """Resize the shorter side to a random length, in multiples of the input's shorter side (VGG, section 3.1)."""
    low, high = (round(factor * min(size)) for factor in scale)
    return v2.RandomShortestSize(list(range(low, high + 1)), **keys)


def random_erasing(value: float | Sequence[float] = 124, **keys: Any) -> v2.Transform:
    """Fill a random rectangle; PIL images are of bytes."""
    return v2.RandomErasing(value=int(value) if isinstance(value, int | float) else [int(v) for v in value], **keys)


class PcaColor(nn.Module):
    """Add to all pixels of an image one random shift along the principal components of the training images' colours.

    Krizhevsky et al. 2012, section 4.1: [p1, p2, p3] [a1 l1, a2 l2, a3 l3]^T, with eigenvectors p and eigenvalues l of
    the covariance of RGB values, and a drawn from a Gaussian once for each image.

    Args:
        std: Of the Gaussian; 0.1 in the paper.
        eigenvalues: Of the covariance of values from 0 to 1; by default those of ImageNet.
        eigenvectors: In the columns of (3, 3).
    """

    def __init__(
        self,
        std: float = 0.1,
        eigenvalues: Sequence[float] = EIGENVALUES,
        eigenvectors: Sequence[Sequence[float]] = EIGENVECTORS,
    ) -> None:
        super().__init__()
        self._std = std
        self._scaled = torch.tensor(eigenvectors) * torch.tensor(eigenvalues)  # each column times its eigenvalue

    def forward(self, image: Image.Image) -> Image.Image:
        """Return the shifted image."""
        shift = self._scaled @ (self._std * torch.randn(3))
        pixels = functional.pil_to_tensor(image).float() + 255 * shift[:, None, None]
        changed: Image.Image = functional.to_pil_image(pixels.round().clamp(0, 255).byte())
        return changed


TRANSFORMS: dict[str, Callable[..., nn.Module]] = {
    "random_resized_crop": v2.RandomResizedCrop,
    "shortest_side": shortest_side,
    "resize": v2.Resize,
    "random_crop": v2.RandomCrop,
    "horizontal_flip": v2.RandomHorizontalFlip,
    "vertical_flip": v2.RandomVerticalFlip,
    "rotation": v2.RandomRotation,
    "affine": v2.RandomAffine,
    "perspective": v2.RandomPerspective,
    "elastic": v2.ElasticTransform,
    "color_jitter": v2.ColorJitter,
    "pca_color": PcaColor,
    "grayscale": v2.RandomGrayscale,
    "invert": v2.RandomInvert,
    "gaussian_blur": v2.GaussianBlur,
    "auto_augment": v2.AutoAugment,
    "rand_augment": v2.RandAugment,
    "trivial_augment": v2.TrivialAugmentWide,
    "aug_mix": v2.AugMix,
    "random_erasing": random_erasing,
}
"""Name to the transform of PIL images, torchvision's where it has one; its keys are in `config.augment_keys`."""


def create_augment(transforms: Mapping[str, Mapping[str, Any] | None], preprocess: Preprocessing) -> Augment | None:
    """Chain the named transforms, in the order given; the result is then preprocessed with `preprocess`.

    Args:
        transforms: Name to arguments. The crops' `size` defaults to the network's input size; None disables a
            transform, so that one of a recipe can be switched off (`augment.transforms.color_jitter=null`).
        preprocess: The network's.

    Returns:
        None without augmentation. Every random number comes from torch's global generator.

    Raises:
        TransferkitError: An unknown name, or arguments that the transform refuses.
    """
    chosen = {name: given for name, given in check_transforms(transforms).items() if given is not None}
    chain = [_create(name, given, preprocess) for name, given in chosen.items()]
    if not chain:
        return None
    last = next((name for name in reversed(chosen) if name in (*CROPS, "shortest_side")), None)
    cropped = last in CROPS and chosen[last].get("size") is None
    grown = any(given.get("expand") for given in chosen.values())
    return Augment(v2.Compose(chain), cropped and not grown)


def _create(name: str, given: Mapping[str, Any], preprocess: Preprocessing) -> nn.Module:
    kind = TRANSFORMS[name]
    size = {"size": preprocess.input_size} if "size" in inspect.signature(kind).parameters else {}
    arguments = {key: INTERPOLATIONS[value] if key == "interpolation" else value for key, value in given.items()}
    try:
        return kind(**size | arguments)
    except (TypeError, ValueError) as error:
        raise TransferkitError(f"augment.transforms.{name}: {error}") from error
