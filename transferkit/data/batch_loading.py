"""From a data set, or the caller's own loader, to batches of input tensors that know which image is which."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler

from transferkit.cores import count_cores
from transferkit.data.images import UnreadableImage
from transferkit.data.imageset import ImageSet
from transferkit.errors import TransferkitError, worker_died
from transferkit.progress import progress as show_progress

IMAGES_PER_WORKER = 64
"""A worker process takes about as long to start as the main process takes to decode so many photographs."""


@dataclass(frozen=True)
class Batch:
    """Some images, ready for the network.

    Attributes:
        positions: Of each in the data set.
        ids: Identity of each: equal contents have equal ones.
        inputs: Tensor (n, 3, H, W); uint8 where the transform gives that.
        errors: Position of, and error for, images that are in none of the above.
        decoded: How many were decoded for it; None for all.
    """

    positions: list[int]
    ids: list[str]
    inputs: Tensor
    errors: list[tuple[int, TransferkitError]]
    decoded: int | None = None


@dataclass(frozen=True)
class Source:
    """Images in a fixed order.

    Attributes:
        ids: Identity of each image where that is known without decoding it, else None.
        names: What to call each image, where it has a name.
        size: How many there are; 0 where nobody knows.
        load: Gives the batches of the images at some positions, in that order; without `ids` always of all.
    """

    ids: list[str] | None
    names: Callable[[int], str]
    size: int
    load: Callable[[Sequence[int]], Iterator[Batch]]


def open_source(
    dataset: Any,
    transform: Callable[[Image.Image], Tensor],
    *,
    batch_size: int,
    num_workers: int | str,
    hashed: bool,
    progress: bool = True,
) -> Source:
    """Prepare to read images.

    Args:
        dataset: An `ImageSet`; or any map-style data set of PIL images (which `transform` turns into tensors) or
            floating-point tensors (3, H, W) (which count as transformed), alone or first in a tuple; or a
            `DataLoader` of such tensors in batches that does not shuffle.
        transform: From an image to a tensor (3, H, W); as uint8 it takes a quarter of the way between processes.
        batch_size: Images a batch; a given loader has its own.
        num_workers: Processes that decode; "auto" chooses by the number of images and of cores. A given loader
            has its own.
        hashed: Whether to identify images by their content where that takes decoding; else by their position.
        progress: Whether to show how far the identification of an `ImageSet` is.

    Raises:
        TransferkitError: Data of another kind, or a loader that shuffles.
    """
    if isinstance(dataset, DataLoader):
        return _from_loader(dataset, hashed)
    if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise TransferkitError(
            f"Features need an ImageSet, a map-style data set or a DataLoader, not {type(dataset).__name__}."
        )
    ids = _ids(dataset, progress) if isinstance(dataset, ImageSet) else None
    names: Callable[[int], str] = (lambda i: dataset.names[i]) if ids is not None else "item {}".format

    def load(positions: Sequence[int]) -> Iterator[Batch]:
        chosen = positions if ids is not None else range(len(dataset))
        items = _Items(dataset, transform, chosen, hashed and ids is None)
        # Arrays need no decoding, so what a process takes to start is not made up for.
        decoding = not isinstance(dataset, ImageSet) or dataset.in_files
        workers = count_workers(num_workers, len(chosen) if decoding else 0)
        try:
            # Its own generator, so that the caller's random numbers do not depend on what was in the cache.
            loader = DataLoader(
                items, batch_size, num_workers=workers, collate_fn=_collate, generator=torch.Generator()
            )
            for batch in loader:
                yield batch if ids is None else replace(batch, ids=[ids[position] for position in batch.positions])
        except RuntimeError as error:
            told = worker_died(error)
            if told is None:
                raise
            raise TransferkitError(told) from error

    return Source(ids, names, len(dataset), load)


def damaged(reasons: Sequence[str]) -> TransferkitError:
    """The one error for all images that cannot be read."""
    return TransferkitError(
        f"Mend or remove the images that cannot be read, {len(reasons)} in all: {'; '.join(reasons)}."
    )


def _ids(images: ImageSet, progress: bool) -> list[str]:
    try:
        with show_progress("Identifying images", len(images)) if progress else nullcontext() as advance:
            return images.ids(advance)
    except UnreadableImage as first:
        raise damaged([f"{images.names[i]}: {reason}" for i, reason in images.unreadable()]) from first


def count_workers(setting: int | str, images: int) -> int:
    """Processes that decode: as many as `trainer.num_workers` says.

    For "auto" as many as pay for themselves: none for few images, at most one for each core this process may use.
    """
    return min(count_cores(), images // IMAGES_PER_WORKER) if setting == "auto" else int(setting)


def identify(image: Image.Image | Tensor) -> str:
    """Name the content of a decoded image: 32 hex digits."""
    if isinstance(image, Tensor):
        kind, content = f"tensor {image.dtype} {tuple(image.shape)}", image.contiguous().view(torch.uint8).numpy().data
    else:
        kind, content = f"image {image.mode} {image.size}", memoryview(image.tobytes())
    digest = blake2b(kind.encode(), digest_size=16)
    digest.update(content)
    return digest.hexdigest()


_Item = tuple[int, str, Tensor | TransferkitError]


class _Items(torch.utils.data.Dataset[_Item]):
    """Position, identity and tensor of chosen images; of one that cannot be read, the error instead of the tensor."""

    def __init__(
        self, dataset: Any, transform: Callable[[Image.Image], Tensor], positions: Sequence[int], hashed: bool
    ) -> None:
        self._dataset = dataset
        self._transform = transform
        self._positions = positions
        self._hashed = hashed

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, index: int) -> _Item:
        position = int(self._positions[index])
        try:
            image = _first(self._dataset[position])
        except TransferkitError as error:  # not raised, so that it leaves a worker process as it is
            return position, "", error
        except OSError as error:  # what other data sets raise, Pillow's UnidentifiedImageError among them
            return position, "", UnreadableImage(f"item {position}", str(error))
        identity = identify(image) if self._hashed else str(position)
        return position, identity, self._transform(image) if isinstance(image, Image.Image) else image


def _collate(items: list[_Item]) -> Batch:
    good = [(position, identity, x) for position, identity, x in items if isinstance(x, Tensor)]
    errors = [(position, x) for position, _, x in items if isinstance(x, TransferkitError)]
    shapes = {tuple(x.shape) for _, _, x in good}
    if len(shapes) > 1:
        message = f"The data set gives tensors of different shapes, {shapes}: resize them to one."
        errors, good = [*errors, (good[0][0], TransferkitError(message))], []
    inputs = torch.stack([x for _, _, x in good]) if good else torch.empty(0)
    return Batch([position for position, _, _ in good], [identity for _, identity, _ in good], inputs, errors)


def _from_loader(loader: "DataLoader[Any]", hashed: bool) -> Source:
    if isinstance(loader.sampler, RandomSampler):
        raise TransferkitError(
            "The DataLoader shuffles, so features would not be in the order of the labels: shuffle=False."
        )

    def load(positions: Sequence[int]) -> Iterator[Batch]:
        start = 0
        for batch in loader:
            inputs = _first(batch)
            where = list(range(start, start + len(inputs)))
            yield Batch(where, [identify(x) for x in inputs] if hashed else [str(i) for i in where], inputs, [])
            start += len(inputs)

    size = len(loader.dataset) if hasattr(loader.dataset, "__len__") else 0
    return Source(None, "item {}".format, size, load)


def _first(item: Any) -> Any:
    """The image of an item, or the images of a batch, that may come with labels."""
    image = item[0] if isinstance(item, tuple | list) else item
    if isinstance(image, Image.Image) or (isinstance(image, Tensor) and image.is_floating_point()):
        return image
    kind = f"tensor of {image.dtype}" if isinstance(image, Tensor) else type(image).__name__
    raise TransferkitError(
        f"The data set gives a {kind} as image; give PIL images or preprocessed floating-point tensors."
    )
