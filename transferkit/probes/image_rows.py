"""The input of the scikit-learn estimators: rows of pixels, arrays of images, or a list of paths or images."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from transferkit.data.images import decode
from transferkit.data.imageset import ImageSet
from transferkit.errors import TransferkitError

BYTES = (0.0, 255.0)


def is_list_of_images(X: Any) -> bool:
    """Whether `X` is a sequence, or a one-dimensional array or column, of paths or PIL images."""
    if isinstance(X, str | bytes) or getattr(X, "ndim", 1) != 1 or not hasattr(X, "__len__") or not len(X):
        return False
    return all(isinstance(item, str | Path | Image.Image) for item in X)


def images_of_list(X: Sequence[Any]) -> ImageSet:
    """Return the images of a list: of files where all are paths, else decoded here.

    Raises:
        UnreadableImage: One cannot be decoded.
    """
    items = list(X)
    if not any(isinstance(item, Image.Image) for item in items):
        return ImageSet.from_files(items, np.zeros(len(items)))
    first, *others = (ImageSet.from_arrays(np.asarray(decode(item))[None], [0]) for item in items)
    return first.joined(*others)


def image_shape_of(width: int, given: Sequence[int] | None) -> tuple[int, ...]:
    """Return the shape of the image in a row of so many values.

    Args:
        width: Values of a row.
        given: (H, W) or (H, W, 3); None for a square image, gray or in colour, if the width is that of one, and
            otherwise the smallest square of gray pixels that holds the values, which stays black at its end.

    Raises:
        TransferkitError: The shape has another number of values, or is none of an image.
    """
    if given is not None:
        shape = tuple(int(side) for side in given)
        if len(shape) not in (2, 3) or shape[2:] not in ((), (1,), (3,)) or math.prod(shape) != width:
            raise TransferkitError(
                f"image_shape={given}: rows have {width} values; wanted is (H, W) or (H, W, 3) of that many."
            )
        return shape
    for channels in (1, 3):
        side = round((width / channels) ** 0.5)
        if channels * side * side == width:
            return (side, side) if channels == 1 else (side, side, 3)
    return (math.isqrt(width - 1) + 1,) * 2


def value_range(X: npt.NDArray[Any], given: Any) -> tuple[float, float]:
    """Return the values that stand for black and white.

    Args:
        X: The training data.
        given: Two numbers; or "auto": 0 and 255 for bytes, otherwise the smallest and the largest value.

    Raises:
        TransferkitError: It is neither.
    """
    if isinstance(given, str) and given == "auto":
        return BYTES if X.dtype == np.uint8 else (float(X.min()), float(X.max()))
    try:
        low, high = map(float, given)
    except (TypeError, ValueError):
        raise TransferkitError(f'pixel_range={given!r} must be "auto" or two numbers, black and white.') from None
    if not low < high:
        raise TransferkitError(f"pixel_range={given!r}: black must be less than white.")
    return low, high


def images_of_array(X: npt.NDArray[Any], shape: Sequence[int], black_white: tuple[float, float]) -> ImageSet:
    """Return the images of an array (N, ...) of pixels, each of this shape, as bytes."""
    if X.dtype != np.uint8 or black_white != BYTES:
        low, high = black_white
        scaled = (X.astype(np.float64) - low) * (255 / (high - low or 1.0))
        X = np.rint(scaled.clip(0, 255)).astype(np.uint8)
    images = np.zeros((len(X), math.prod(shape)), np.uint8)
    values = X.reshape(len(X), -1)
    images[:, : values.shape[1]] = values
    return ImageSet.from_arrays(images.reshape(len(X), *shape), np.zeros(len(X)))
