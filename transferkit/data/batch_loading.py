"""Batches of input tensors with the identity of each image, from a data set or the caller's own loader."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler

from transferkit.cores import count_cores
from transferkit.data.images import UnreadableImage
from transferkit.data.imageset import ImageSet
from transferkit.errors import TransferkitError, worker_died
from transferkit.progress import progress as show_progress

IMAGES_PER_WORKER = 64
"""Number of photographs that the main process decodes in the time that a worker process takes to start."""


@dataclass(frozen=True)
class Batch:
    """Some images, ready for the network.

    Attributes:
        positions: Index of each in the data set.
        ids: Identity of each, of the bytes that were decoded: equal contents have equal ones.
        inputs: Tensor (n, 3, H, W); uint8 where the transform gives that.
        errors: Position and error of the images that could not be read, which are not among the above.
        decoded: Number of images decoded for this batch.
    """

    positions: list[int]
    ids: list[str]
    inputs: Tensor
    errors: list[tuple[int, TransferkitError]]
    decoded: int


Batches = Iterable[list[int]]
"""Positions of the images of each batch. Consumed lazily, some batches ahead, so that they may be decided late."""


@dataclass(frozen=True)
class Source:
    """Images in a fixed order.

    Attributes:
        ids: Identity of each image if it is known without decoding, else None.
        names: Name of each image, if it has one.
        size: Number of images; 0 if unknown.
        load: Gives these batches, and is told how many images are to be decoded for them; without `ids` it always gives
            all images.
    """

    ids: list[str] | None
    names: Callable[[int], str]
    size: int
    load: Callable[[Batches, int], Iterator[Batch]]


class Kept(Protocol):
    """Tensors of images that were decoded earlier."""

    def places(self, positions: Sequence[int]) -> list[int]:
        """Where the tensor of each image lies; -1 for those that must be decoded."""

    def read(self, position: int, place: int) -> Tensor:
        """One of them; in whichever process loads images."""


def open_source(
    dataset: Any,
    transform: Callable[[Image.Image], Tensor],
    *,
    batch_size: int,
    num_workers: int | str,
    hashed: bool,
    progress: bool = True,
    keep: Callable[[list[str]], Kept] | None = None,
) -> Source:
    """Prepare to read images.

    Args:
        dataset: An `ImageSet`; or any map-style data set of PIL images (which `transform` turns into tensors) or
            floating-point tensors (3, H, W) (which count as transformed), alone or first in a tuple; or a
            `DataLoader` of such tensors in batches that does not shuffle.
        transform: From an image to a tensor (3, H, W); uint8 needs a quarter of the bytes between processes.
        batch_size: Images per batch, for data whose identities require decoding; a given loader has its own.
        num_workers: Processes that decode; "auto" chooses by the number of images and of cores. A given loader
            has its own.
        hashed: Whether to identify images by their content if that requires decoding; else by their position.
        progress: Whether to show the progress of identifying an `ImageSet`.
        keep: From the identities of an `ImageSet` to the images that need no decoding.

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

    kept = keep(ids) if keep and ids is not None else None
    items = _Items(dataset, transform, hashed, kept)

    def load(batches: Batches, decode: int) -> Iterator[Batch]:
        if ids is None:
            size, decode = len(dataset), len(dataset)
            batches = (list(range(start, min(start + batch_size, size))) for start in range(0, size, batch_size))
        # Arrays need no decoding, so starting a process does not pay.
        decoding = not isinstance(dataset, ImageSet) or dataset.in_files
        workers = count_workers(num_workers, decode if decoding else 0)
        for batch in load_items(items, _places(batches, kept), workers):
            known = batch.ids if ids is None else [i or ids[p] for p, i in zip(batch.positions, batch.ids, strict=True)]
            yield replace(batch, ids=known)

    return Source(ids, names, len(dataset), load)


def load_items(items: "Dataset[Item]", batches: Iterable[list[Any]], num_workers: int) -> Iterator[Batch]:
    """These batches of items, in order.

    Raises:
        TransferkitError: A process that loads them died.
    """
    try:
        # Its own generator, so that the caller's random numbers do not depend on the content of the cache.
        yield from DataLoader(
            items, batch_sampler=batches, num_workers=num_workers, collate_fn=_collate, generator=torch.Generator()
        )
    except RuntimeError as error:
        told = worker_died(error)
        if told is None:
            raise
        raise TransferkitError(told) from error


def _places(batches: Batches, kept: Kept | None) -> Iterator[list[tuple[int, int]]]:
    """Each position with the place of its cached row."""
    for batch in batches:
        yield list(zip(batch, kept.places(batch) if kept else [-1] * len(batch), strict=True))


def damaged(reasons: Sequence[str]) -> TransferkitError:
    """The one error for all images that cannot be read."""
    return TransferkitError(
        f"Repair or remove the images that cannot be read, {len(reasons)} in all: {'; '.join(reasons)}."
    )


def _ids(images: ImageSet, progress: bool) -> list[str]:
    try:
        with show_progress("Identifying images", len(images)) if progress else nullcontext() as advance:
            return images.ids(advance)
    except UnreadableImage as first:
        raise damaged([f"{images.names[i]}: {reason}" for i, reason in images.unreadable()]) from first


def count_workers(setting: int | str, images: int) -> int:
    """Number of processes that decode, from `trainer.num_workers`.

    For "auto" as many as pay: none for few images, at most one per core that this process may use.
    """
    return min(count_cores(), images // IMAGES_PER_WORKER) if setting == "auto" else int(setting)


def identify(image: Image.Image | Tensor) -> str:
    """Identity of the content of a decoded image: 32 hex digits."""
    if isinstance(image, Tensor):
        kind, content = f"tensor {image.dtype} {tuple(image.shape)}", image.contiguous().view(torch.uint8).numpy().data
    else:
        kind, content = f"image {image.mode} {image.size}", memoryview(image.tobytes())
    digest = blake2b(kind.encode(), digest_size=16)
    digest.update(content)
    return digest.hexdigest()


@dataclass(frozen=True)
class Item:
    """One image of a data set.

    Attributes:
        position: In the data set.
        id: Identity of the content that was decoded; empty where that is what it was before.
        content: The tensor; or why there is none, not raised, so that it leaves a worker process as it is.
        decoded: Whether it was decoded.
    """

    position: int
    id: str
    content: Tensor | TransferkitError
    decoded: bool = True


class _Items(Dataset[Item]):
    """The images of a data set by (position, place of the cached row)."""

    def __init__(
        self, dataset: Any, transform: Callable[[Image.Image], Tensor], hashed: bool, kept: Kept | None
    ) -> None:
        self._dataset = dataset
        self._transform = transform
        self._hashed = hashed
        self._kept = kept

    def __getitem__(self, where: tuple[int, int]) -> Item:
        position, place = where
        if place >= 0 and self._kept is not None:
            return Item(position, "", self._kept.read(position, place), decoded=False)
        try:
            return self._decode(position)
        except TransferkitError as error:
            return Item(position, "", error)
        except OSError as error:  # what other data sets raise, Pillow's UnidentifiedImageError among them
            return Item(position, "", UnreadableImage(f"item {position}", str(error)))

    def _decode(self, position: int) -> Item:
        if isinstance(self._dataset, ImageSet):
            image, identity = self._dataset.identified(position)
        else:
            image = _first(self._dataset[position])
            identity = identify(image) if self._hashed else str(position)
        return Item(position, identity, self._transform(image) if isinstance(image, Image.Image) else image)


def _collate(items: list[Item]) -> Batch:
    good = [(item, item.content) for item in items if isinstance(item.content, Tensor)]
    errors = [(item.position, item.content) for item in items if isinstance(item.content, TransferkitError)]
    shapes = {tuple(x.shape) for _, x in good}
    if len(shapes) > 1:
        message = f"The data set gives tensors of different shapes, {shapes}: resize them to one."
        errors, good = [*errors, (good[0][0].position, TransferkitError(message))], []
    inputs = torch.stack([x for _, x in good]) if good else torch.empty(0)
    positions, ids = [item.position for item, _ in good], [item.id for item, _ in good]
    return Batch(positions, ids, inputs, errors, decoded=sum(item.decoded for item, _ in good))


def _from_loader(loader: "DataLoader[Any]", hashed: bool) -> Source:
    if isinstance(loader.sampler, RandomSampler):
        raise TransferkitError(
            "The DataLoader shuffles, so features would not be in the order of the labels: shuffle=False."
        )

    def load(batches: Batches, decode: int) -> Iterator[Batch]:
        start = 0
        for batch in loader:
            inputs = _first(batch)
            where = list(range(start, start + len(inputs)))
            ids = [identify(x) for x in inputs] if hashed else [str(i) for i in where]
            yield Batch(where, ids, inputs, [], decoded=len(where))
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
