"""Reading the images of a split, unchanged or in fixed random views, to cache the results computed from them."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from transferkit.arrays import Rows
from transferkit.data.augment import Augment
from transferkit.data.batch_loading import Batch, Batches, Item, Source, count_workers, load_items, open_source
from transferkit.data.images import UnreadableImage
from transferkit.data.imageset import ImageSet
from transferkit.data.preprocess import Preprocessing
from transferkit.features.activations import store_rows
from transferkit.features.from_settings import keeps_pixels, make_cache
from transferkit.features.pixels import KeptPixels, pixels_entry
from transferkit.features.stage_outputs import CutRows
from transferkit.features.store import CacheEntry
from transferkit.features.stored_inputs import StoredInputs
from transferkit.strategies.context import Context
from transferkit.training.epochs import view_of

BATCH = 64


class Reader:
    """Computes rows of whole splits.

    Args:
        context: Its configuration.
        preprocess: From an image to the network's input.
        augment: Augmentation of training images.
        views: Fixed views per training image.
        seed: Of the augmentation.
    """

    def __init__(
        self, context: Context, preprocess: Preprocessing, augment: Augment | None, views: int, seed: int
    ) -> None:
        settings = context.settings
        self._workers = settings["trainer"]["num_workers"]
        self._changes = settings["augment"]["transforms"]
        self._preprocess = preprocess
        self._augment = augment
        self._views = views
        self._seed = seed
        self.cache = make_cache(settings["cache"])
        self._keep_pixels = keeps_pixels(settings)

    def rows(self, images: ImageSet, cut: CutRows, on_disk: bool, in_memory: bool, train: bool) -> StoredInputs:
        """The activations of a frozen stage."""
        random = train and self._augment is not None
        more: dict[str, Any] = {"augment": self._changes, "seed": self._seed} if random else {}
        entry = self.cache.entry(cut.description(**more), "activations") if on_disk and self.cache else None
        stored = self._stored(images, train, cut.compute, cut.precision, entry, in_memory)
        if entry and self.cache:
            self.cache.shrink()
        return stored

    def pixels(self, images: ImageSet, train: bool) -> StoredInputs:
        """The decoded images, uint8, in memory."""
        return self._stored(images, train, torch.Tensor.numpy, None, None, True)

    def _stored(
        self,
        images: ImageSet,
        train: bool,
        compute: Callable[[Tensor], Rows],
        precision: str | None,
        entry: CacheEntry | None,
        in_memory: bool,
    ) -> StoredInputs:
        kept: CacheEntry | None = None
        if train and self._augment is not None:
            source, views = self._views_of(images, self._augment), self._views
        else:
            kept = pixels_entry(self.cache, self._preprocess) if self._keep_pixels and self.cache else None
            source, views = self._plain(images, kept), 1
        return store_rows(
            source,
            images.labels,
            compute,
            precision,
            views=views,
            entry=entry,
            pixels=kept,
            in_memory=in_memory,
            batch_size=BATCH,
        )

    def _plain(self, images: ImageSet, kept: CacheEntry | None) -> Source:
        size = self._preprocess.input_size
        return open_source(
            images,
            self._preprocess.pixels,
            batch_size=BATCH,
            num_workers=self._workers,
            hashed=False,
            keep=(lambda names: KeptPixels(kept, names, size)) if kept else None,
        )

    def _views_of(self, images: ImageSet, augment: Augment) -> Source:
        items = ViewItems(images, self._preprocess, augment, self._seed)

        def load(batches: Batches, decode: int) -> Iterator[Batch]:
            return load_items(items, batches, count_workers(self._workers, decode))

        names = images.names
        ids = [f"{identity}/{view}" for view in range(self._views) for identity in images.ids()]
        return Source(ids, lambda i: names[i % len(names)], len(ids), load)


class ViewItems(Dataset[Item]):
    """Fixed random views of images: all images in their first view, then in their second, and so on."""

    def __init__(self, images: ImageSet, preprocess: Preprocessing, augment: Augment, seed: int) -> None:
        self._images = images
        self._preprocess = preprocess
        self._augment = augment
        self._seed = seed

    def __getitem__(self, position: int) -> Item:
        view, index = divmod(position, len(self._images))
        try:
            image, identity = self._images.identified(index)
        except UnreadableImage as error:
            return Item(position, "", error)
        image = view_of(image, self._augment, self._seed, view, identity)
        pixels = self._augment.pixels(image, self._preprocess.pixels)
        return Item(position, f"{identity}/{view}", pixels)
