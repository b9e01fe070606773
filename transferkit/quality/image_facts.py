"""Facts of every image from one quick pass over the files: size, kind of colour, contrast, and a small gray copy."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from transferkit.data.images import big_images_allowed, decode, open_image
from transferkit.data.imageset import ImageSet
from transferkit.progress import Advance, map_threads

SIDE = 16
"""Of the gray copies, in pixels."""

_DECODED_SIDE = 64
_EQUAL_CHANNELS = 12
"""Largest mean difference of the colour channels, of 255, of an image that is called gray: JPEG adds a tint."""


@dataclass(frozen=True)
class ImageFacts:
    """Facts of N images.

    Attributes:
        sizes: (N, 2) width and height in pixels, as stored.
        kinds: "gray", "colour", "colour, transparent" and so on.
        deviations: (N,) standard deviation of the gray levels, which reach from 0 to 255.
        small: (N, 256) gray copies of 16 x 16 pixels, uint8.
    """

    sizes: npt.NDArray[np.int64]
    kinds: list[str]
    deviations: npt.NDArray[np.float64]
    small: npt.NDArray[np.uint8]


def find_facts(images: ImageSet, progress: Advance | None = None) -> ImageFacts:
    """Read every image once; JPEGs are decoded at a fraction of their size.

    Raises:
        UnreadableImage: A file cannot be decoded.
    """
    names = images.names
    rows = map_threads(lambda i: _look(images.content(i), names[i]), range(len(images)), progress)
    sizes, kinds, deviations, small = (list(column) for column in zip(*rows, strict=True)) if rows else ([],) * 4
    return ImageFacts(
        np.array(sizes, dtype=np.int64).reshape(-1, 2),
        kinds,
        np.array(deviations, dtype=np.float64),
        np.array(small, dtype=np.uint8).reshape(-1, SIDE * SIDE),
    )


def small_copy(image: Image.Image) -> npt.NDArray[np.uint8]:
    """The gray copy (256,) of an image."""
    return np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.uint8).ravel()


def _look(content: bytes, name: str) -> tuple[tuple[int, int], str, float, npt.NDArray[np.uint8]]:
    image = decode(content, name, at_least=_DECODED_SIDE)
    with big_images_allowed(), open_image(content) as opened:
        size, notes = opened.size, _notes(opened)
    pixels = np.asarray(image, dtype=np.int16)
    tint = max(float(np.abs(pixels[..., c] - pixels[..., 1]).mean()) for c in (0, 2))
    kind = ", ".join(["gray" if tint <= _EQUAL_CHANNELS else "colour", *notes])
    return size, kind, float(np.asarray(image.convert("L"), dtype=np.float64).std()), small_copy(image)


def _notes(image: Image.Image) -> list[str]:
    """Properties of the stored image that its RGB copy does not have any more."""
    notes = ["CMYK"] if image.mode == "CMYK" else []
    notes += ["more than 8 bits"] if image.mode == "F" or image.mode.startswith("I") else []
    return [*notes, *(["transparent"] if image.has_transparency_data else [])]
