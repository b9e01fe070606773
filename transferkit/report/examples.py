"""Example test images: the most confident mistakes, and correct predictions of every class."""

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
"""Images up to this size are stored without loss, since JPEG blurs them."""


@dataclass(frozen=True)
class Example:
    """One test image with its prediction.

    Attributes:
        name: Path below the common folder of the images shown, or index.
        true: Name of its class.
        predicted: Name of the predicted class.
        confidence: Probability of the predicted class.
        picture: A `data:` URI of the thumbnail, or None if the image cannot be read.
        tiny: Whether it is enlarged with visible pixels.
    """

    name: str
    true: str
    predicted: str
    confidence: float
    picture: str | None
    tiny: bool


def worst_mistakes(test: ImageSet, probabilities: Probabilities, limit: int) -> npt.NDArray[np.int64]:
    """Return the indices of up to `limit` misclassified images, the most confident first."""
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != test.labels)
    return wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")][:limit]


def right_examples(test: ImageSet, probabilities: Probabilities, limit: int) -> npt.NDArray[np.int64]:
    """Return the indices of up to `limit` correctly classified images, spread over the classes and ordered by class."""
    right = np.flatnonzero(probabilities.argmax(axis=1) == test.labels)
    by_class = [right[test.labels[right] == label] for label in np.unique(test.labels[right])]
    if len(by_class) > limit:
        by_class = [by_class[i] for i in np.linspace(0, len(by_class) - 1, limit).round().astype(int)]
    chosen: list[int] = []
    for rank in range(limit):
        chosen += [int(images[rank]) for images in by_class if rank < len(images)][: limit - len(chosen)]
    return np.array(sorted(chosen, key=lambda i: (test.labels[i], i)), dtype=np.int64)


def examples(
    test: ImageSet,
    probabilities: Probabilities,
    class_names: Sequence[str],
    indices: npt.NDArray[np.int64],
    side: int = THUMBNAIL_SIDE,
) -> list[Example]:
    """Return the images at `indices`, in this order, with pictures of at most `side` pixels."""
    chosen = test.subset(indices)
    names = short_names(chosen.names) if chosen.in_files else chosen.names
    rows = []
    for i, (name, row) in enumerate(zip(names, probabilities[indices], strict=True)):
        best = int(row.argmax())
        picture, tiny = thumbnail(chosen, i, side)
        true = class_names[chosen.labels[i]]
        rows.append(Example(name, true, class_names[best], float(row[best]), picture, tiny))
    return rows


def short_names(paths: Sequence[str]) -> list[str]:
    """Return the paths relative to their common folder."""
    paths = [os.path.abspath(path) for path in paths]
    try:
        shared = os.path.commonpath([os.path.dirname(path) for path in paths])
    except ValueError:  # no paths, or on different drives
        return paths
    return [os.path.relpath(path, shared) for path in paths]


def thumbnail(test: ImageSet, index: int, side: int = THUMBNAIL_SIDE) -> tuple[str | None, bool]:
    """Return a `data:` URI of the image, at most `side` pixels wide and high, and whether the original is tiny.

    For an image that can no longer be read it is None, so that the report is still written.
    """
    try:
        image = test.image(index)
    except (TransferkitError, OSError, MemoryError):
        return None, False
    if tiny := max(image.size) <= TINY_SIDE:
        return data_uri(image, "PNG", optimize=True), tiny
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return data_uri(image, "JPEG", quality=75, optimize=True), tiny


def data_uri(image: Image.Image, kind: str, **options: int) -> str:
    """Encode `image` as PNG or JPEG into a `data:` URI."""
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{b64encode(buffer.getvalue()).decode()}"
