"""Read the images of a split, as they are or in fixed random views, to keep what is computed from them."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from transferkit.data.augment import Augment
from transferkit.data.batch_loading import count_workers, open_source
from transferkit.data.imageset import ImageSet
from transferkit.data.preprocess import Preprocessing
from transferkit.features.activations import Load, store_rows
from transferkit.features.from_settings import keeps_pixels, make_cache
from transferkit.features.pixels import with_kept_pixels
from transferkit.features.stage_outputs import CutRows
from transferkit.features.stored_inputs import StoredInputs
from transferkit.strategies.context import Context
from transferkit.training.epochs import TrainingImages, batch_loader

BATCH = 64


class Reader:
    """Computes rows of whole splits.

    Args:
        context: Its configuration.
        preprocess: From an image to what the network takes.
        augment: Random changes, for training images.
        views: How many of each training image.
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
        """What leaves a frozen stage."""
        random = train and self._augment is not None
        more: dict[str, Any] = {"augment": self._changes, "seed": self._seed} if random else {}
        cache = self.cache if on_disk else None
        entry = cache.entry(cut.description(**more), "activations") if cache else None
        ids, load = self._views_of(images) if random else self._plain(images)
        return store_rows(
            ids, images.labels, load, cut.compute, cut.precision, cache=cache, entry=entry, in_memory=in_memory
        )

    def pixels(self, images: ImageSet, train: bool) -> StoredInputs:
        """The decoded images, uint8, in memory."""
        ids, load = self._views_of(images) if train and self._augment is not None else self._plain(images)
        return store_rows(ids, images.labels, load, torch.Tensor.numpy, None)

    def _plain(self, images: ImageSet) -> tuple[list[list[str]], Load]:
        source = open_source(images, self._preprocess.pixels, batch_size=BATCH, num_workers=self._workers, hashed=False)
        if self._keep_pixels and self.cache:
            source = with_kept_pixels(source, self.cache, self._preprocess, BATCH)

        def load(view: int, positions: Sequence[int]) -> Iterator[tuple[Sequence[int], Tensor]]:
            for batch in source.load(positions):
                for _, error in batch.errors:
                    raise error
                yield batch.positions, batch.inputs

        return [source.ids or []], load

    def _views_of(self, images: ImageSet) -> tuple[list[list[str]], Load]:
        def load(view: int, positions: Sequence[int]) -> Iterator[tuple[Sequence[int], Tensor]]:
            epoch = TrainingImages(images, self._preprocess.pixels, self._augment, self._seed, view, views=self._views)
            batches = [list(positions[start : start + BATCH]) for start in range(0, len(positions), BATCH)]
            workers = count_workers(self._workers, len(positions))
            for places, (inputs, _) in zip(batches, batch_loader(epoch, batches, workers), strict=True):
                yield places, inputs

        return [[f"{identity}/{view}" for identity in images.ids()] for view in range(self._views)], load
