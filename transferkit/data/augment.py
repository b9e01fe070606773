"""Augmentation of training images: transforms by name, as in the `augment` group."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from PIL import Image
from torchvision.transforms import v2

from transferkit.config.schema import check_transforms
from transferkit.data.preprocess import Preprocessing
from transferkit.errors import TransferkitError

Augment = Callable[[Image.Image], Image.Image]

TRANSFORMS: dict[str, type[v2.Transform]] = {
    "random_resized_crop": v2.RandomResizedCrop,
    "random_crop": v2.RandomCrop,
    "horizontal_flip": v2.RandomHorizontalFlip,
    "vertical_flip": v2.RandomVerticalFlip,
    "rotation": v2.RandomRotation,
    "affine": v2.RandomAffine,
    "perspective": v2.RandomPerspective,
    "elastic": v2.ElasticTransform,
    "color_jitter": v2.ColorJitter,
    "grayscale": v2.RandomGrayscale,
    "invert": v2.RandomInvert,
    "gaussian_blur": v2.GaussianBlur,
    "auto_augment": v2.AutoAugment,
    "rand_augment": v2.RandAugment,
    "trivial_augment": v2.TrivialAugmentWide,
}
"""Name to torchvision's transform of PIL images; its keys are in `config.augment_keys`."""


def count_views(augment: Mapping[str, Any]) -> int | None:
    """Number of fixed views per image of an `augment` group: 1 without augmentation, None for new views every epoch."""
    views: int | None = augment.get("views")
    return views if any(given is not None for given in augment["transforms"].values()) else 1


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
    chosen = check_transforms(transforms)
    chain = [_create(name, given, preprocess) for name, given in chosen.items() if given is not None]
    return v2.Compose(chain) if chain else None


def _create(name: str, given: Mapping[str, Any], preprocess: Preprocessing) -> v2.Transform:
    kind = TRANSFORMS[name]
    size = {"size": preprocess.input_size} if "size" in inspect.signature(kind).parameters else {}
    try:
        return kind(**size | dict(given))
    except (TypeError, ValueError) as error:
        raise TransferkitError(f"augment.transforms.{name}: {error}") from error
