"""The train and val batches of a fit, as a Lightning data module."""

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from transferkit.data.augment import Augment
from transferkit.errors import TransferkitError
from transferkit.features.stored_inputs import StoredInputs
from transferkit.training.epochs import Items, StoredEpoch, TrainingImages, batch_loader, training_loader


class TrainingData(pl.LightningDataModule):  # type: ignore[misc]
    """Batches whose content depends only on the seed and the epoch, for one process or several.

    Args:
        train: Images, or cached inputs.
        val: Images or cached inputs on which the best epoch is selected.
        preprocess: From an image to the input tensor; None if both are tensors already.
        augment: Augmentation of training images, or None.
        batch_size: Images per optimizer step over all processes.
        seed: Of order and augmentation.
        num_workers: Processes that load images for each training process.
        passes: Over train, per epoch.
        views: Number of fixed views of each training image, one per pass, then repeated; None for new views.
    """

    def __init__(
        self,
        train: Items | StoredInputs,
        val: Items | StoredInputs,
        preprocess: Callable[[Image.Image], Tensor] | None,
        augment: Augment | None,
        batch_size: int,
        seed: int = 0,
        num_workers: int = 0,
        passes: int = 1,
        views: int | None = None,
    ) -> None:
        super().__init__()
        self.train = train
        self.val = val
        self.preprocess = preprocess
        self.augment = augment
        self.batch_size = batch_size
        self.seed = seed
        self.num_workers = num_workers
        self.passes = passes
        self.views = views

    @property
    def steps_per_epoch(self) -> int:
        """Batches per epoch; one that is not full is dropped if there are others."""
        return max(len(self.train) * self.passes // self.batch_size, 1)

    def train_dataloader(self) -> DataLoader[Any]:
        """This process's share of the batches of the current epoch; Lightning requests them for each epoch."""
        rank, processes = self._place()
        if self.batch_size % processes:
            raise TransferkitError(
                f"trainer.batch_size={self.batch_size} must be a multiple of trainer.devices={processes}."
            )
        if processes > 1 and len(self.train) * self.passes < self.batch_size:
            raise TransferkitError(
                f"{len(self.train)} training images do not fill a batch of {self.batch_size}: with several "
                "devices lower trainer.batch_size, or use trainer.devices=1."
            )
        images: TrainingImages | StoredEpoch
        place = self.seed, self.trainer.current_epoch, self.passes
        if isinstance(self.train, StoredInputs):
            images = StoredEpoch(self.train, *place)
        else:
            images = TrainingImages(self.train, self.preprocess, self.augment, *place, self.views)
        return training_loader(images, self.batch_size, self.num_workers, rank, processes)

    def val_dataloader(self) -> DataLoader[Any]:
        """The val split in order, or this process's share of it."""
        rank, processes = self._place()
        share, mine = self.batch_size // processes, list(range(rank, len(self.val), processes))
        batches = [mine[start : start + share] for start in range(0, len(mine), share)]
        workers = self.num_workers if len(self.val) > self.batch_size else 0
        if isinstance(self.val, StoredInputs):
            return batch_loader(StoredEpoch(self.val), batches, workers)
        return batch_loader(TrainingImages(self.val, self.preprocess), batches, workers)

    def _place(self) -> tuple[int, int]:
        """Rank of this process, and number of processes."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
