"""Views of an image for testing: crops at corners or on a grid, or the whole image, at one or several scales."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional

from transferkit.data.batch_loading import damaged, open_source
from transferkit.data.images import UnreadableImage
from transferkit.data.imageset import ImageSet
from transferkit.data.preprocess import Preprocessing
from transferkit.errors import TransferkitError
from transferkit.progress import progress

STEP = 1 / 8
"""Between the three scales, as a share of the middle one: 32 pixels at 256 (Simonyan & Zisserman 2015, section 4.2)."""


def scales_in_pixels(scales: str | Sequence[int], preprocess: Preprocessing, where: str) -> list[int]:
    """Return the shorter sides that images are resized to.

    Args:
        scales: "one", "three", of which none is smaller than the crop, or sides.
        preprocess: That of the network.
        where: The key, for messages.

    Raises:
        TransferkitError: A side is smaller than the crop.
    """
    usual, crop = min(preprocess.resize_size), min(preprocess.input_size)
    if isinstance(scales, str):
        shares = (1,) if scales == "one" else (1 - STEP, 1, 1 + STEP)
        return sorted({max(crop, round(usual * share)) for share in shares})
    small = [side for side in scales if side < crop]
    if small:
        raise TransferkitError(f"{where} has {small[0]}, which is smaller than the crop of the network, {crop} pixels.")
    return sorted(set(scales))


def at_scale(preprocess: Preprocessing, side: int) -> Preprocessing:
    """Return the preprocessing that resizes to this shorter side, with the same crop."""
    lengths = preprocess.resize_size
    sides = zip(lengths, preprocess.input_size, strict=True)
    height, width = (max(round(side * length / min(lengths)), crop) for length, crop in sides)
    return replace(preprocess, resize_size=(height, width))


def ten_crops(image: Image.Image, sizes: Sequence[Preprocessing]) -> Tensor:
    """Return corners, centre and their mirror images as uint8 (10 S, 3, H, W), in torchvision's order, of S sizes."""
    crops = [crop for size in sizes for crop in functional.ten_crop(size.resized(image), list(size.input_size))]
    return torch.stack([functional.pil_to_tensor(crop) for crop in crops])


def grid_crops(image: Image.Image, sizes: Sequence[Preprocessing], grid: int, flips: bool) -> Tensor:
    """Return grid x grid crops from border to border, row by row, as uint8 (V, 3, H, W); with `flips` mirrored, too."""
    views: list[Tensor] = []
    for size in sizes:
        whole = whole_image(image, size)
        rows, columns = (
            torch.linspace(0, side - crop, grid).round().int().tolist()
            for side, crop in zip(whole.shape[1:], size.input_size, strict=True)
        )
        views += [functional.crop(whole, top, left, *size.input_size) for top in rows for left in columns]
    crops = torch.stack(views)
    return torch.cat([crops, crops.flip(3)]) if flips else crops


def whole_image(image: Image.Image, size: Preprocessing) -> Tensor:
    """Return the resized image without a crop, as uint8 (3, H, W)."""
    pixels: Tensor = functional.pil_to_tensor(size.resized(image))
    return pixels


def view_batches(
    images: ImageSet, view: Callable[[Image.Image], Tensor], per_batch: int, num_workers: int | str, label: str
) -> Iterator[tuple[list[int], Tensor]]:
    """Yield positions (n) and views (n, ...) of the images, in batches of at most `per_batch`.

    Raises:
        TransferkitError: Images cannot be read; all are listed.
    """
    source = open_source(images, view, batch_size=per_batch, num_workers=num_workers, hashed=False, progress=False)
    order, unreadable = range(len(images)), list[str]()
    batches = (list(order[start : start + per_batch]) for start in order[::per_batch])
    with progress(label, len(images)) as advance:
        for batch in source.load(batches, len(images)):
            for position, error in batch.errors:
                if not isinstance(error, UnreadableImage):
                    raise error
                unreadable.append(f"{images.names[position]}: {error.reason}")
            if batch.positions:
                yield batch.positions, batch.inputs
            advance(len(batch.positions) + len(batch.errors))
    if unreadable:
        raise damaged(unreadable)


def whole_batches(
    images: ImageSet, size: Preprocessing, most: int, num_workers: int | str, label: str
) -> Iterator[tuple[list[int], Tensor]]:
    """Yield positions (n) and whole images (n, 3, H, W), in batches of images of one size; photographs have many.

    Raises:
        TransferkitError: Images cannot be read; all are listed.
    """
    waiting: dict[tuple[int, ...], list[tuple[int, Tensor]]] = {}
    for (position,), inputs in view_batches(images, partial(whole_image, size=size), 1, num_workers, label):
        waiting.setdefault(tuple(inputs.shape), []).append((position, inputs[0]))
        if sum(map(len, waiting.values())) >= most:
            yield from _stacked(waiting)
            waiting.clear()
    yield from _stacked(waiting)


def _stacked(waiting: dict[tuple[int, ...], list[tuple[int, Tensor]]]) -> Iterator[tuple[list[int], Tensor]]:
    for alike in waiting.values():
        yield [position for position, _ in alike], torch.stack([image for _, image in alike])
