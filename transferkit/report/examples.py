"""Test images to look at: the worst mistakes, and some of every kind that are right."""

import os
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from transferkit.arrays import Probabilities
from transferkit.data.imageset import ImageSet
from transferkit.errors import TransferkitError

THUMBNAIL_SIDE = 128
TINY_SIDE = 32
"""Images up to this size are kept without loss: JPEG blurs them, and they are small anyway."""


@dataclass(frozen=True)
class Example:
    """One test image with what the model said.

    Attributes:
        name: Path below the folder that the images shown share, or index.
        true: Name of its class.
        predicted: Name of the class it was given.
        confidence: Probability of the predicted class.
        picture: A `data:` address of the thumbnail, or None if the image cannot be read.
        tiny: Whether it is to be enlarged with visible pixels.
    """

    name: str
    true: str
    predicted: str
    confidence: float
    picture: str | None
    tiny: bool


def worst_mistakes(test: ImageSet, probabilities: Probabilities, limit: int) -> npt.NDArray[np.int64]:
    """Return the indices of up to `limit` images that are wrong, the most confident first."""
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != test.labels)
    return wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")][:limit]


def right_examples(test: ImageSet, probabilities: Probabilities, limit: int) -> npt.NDArray[np.int64]:
    """Return the indices of up to `limit` images that are right, spread over the classes and ordered by class."""
    right = np.flatnonzero(probabilities.argmax(axis=1) == test.labels)
    by_class = [right[test.labels[right] == label] for label in np.unique(test.labels[right])]
    if len(by_class) > limit:
        by_class = [by_class[i] for i in np.linspace(0, len(by_class) - 1, limit).round().astype(int)]
    chosen: list[int] = []
    for rank in range(limit):
        chosen += [int(images[rank]) for images in by_class if rank < len(images)][: limit - len(chosen)]
    return np.array(sorted(chosen, key=lambda i: (test.labels[i], i)), dtype=np.int64)


def examples(
    test: ImageSet, probabilities: Probabilities, class_names: Sequence[str], indices: npt.NDArray[np.int64]
) -> list[Example]:
    """Return the images at `indices` in this order."""
    chosen = test.subset(indices)
    names = short_names(chosen.names) if chosen.in_files else chosen.names
    rows = []
    for i, (name, row) in enumerate(zip(names, probabilities[indices], strict=True)):
        best = int(row.argmax())
        picture, tiny = thumbnail(chosen, i)
        true = class_names[chosen.labels[i]]
        rows.append(Example(name, true, class_names[best], float(row[best]), picture, tiny))
    return rows


def short_names(paths: Sequence[str]) -> list[str]:
    """Return what lies below the folder that all `paths` share."""
    paths = [os.path.abspath(path) for path in paths]
    try:
        shared = os.path.commonpath([os.path.dirname(path) for path in paths])
    except ValueError:  # no paths, or on different drives
        return paths
    return [os.path.relpath(path, shared) for path in paths]


def thumbnail(test: ImageSet, index: int) -> tuple[str | None, bool]:
    """Return a `data:` address of the image, at most 128 pixels wide and high, and whether the original is tiny.

    An image that can no longer be read gives None: the report is for the rest.
    """
    try:
        image = test.image(index)
    except (TransferkitError, OSError, MemoryError):
        return None, False
    if tiny := max(image.size) <= TINY_SIDE:
        return data_uri(image, "PNG", optimize=True), tiny
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
    return data_uri(image, "JPEG", quality=75, optimize=True), tiny


def data_uri(image: Image.Image, kind: str, **options: int) -> str:
    """Encode `image` as PNG or JPEG into a `data:` address."""
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{b64encode(buffer.getvalue()).decode()}"
