"""Training batches whose content depends on the seed and the epoch only, however they are loaded and resumed."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from transferkit.augment import Augment
from transferkit.data.generated import mixed
from transferkit.data.imageset import ImageSet

_ORDER, _AUGMENT, _STEP = range(3)


def seed_step(seed: int, step: int) -> None:
    """Make what is random in a training step (dropout) the same after resuming."""
    torch.manual_seed(mixed(seed, _STEP, step))


class TrainingImages(Dataset[tuple[Tensor, int]]):
    """Images of one epoch, augmented and preprocessed; each with random numbers of its own.

    Args:
        images: The images.
        preprocess: From an image to the input tensor.
        augment: Random changes before that, from torch's global generator; None for none.
        seed: Of the run.
        epoch: Counted from 0.
    """

    def __init__(
        self,
        images: ImageSet,
        preprocess: Callable[[Image.Image], Tensor],
        augment: Augment | None = None,
        seed: int = 0,
        epoch: int = 0,
    ) -> None:
        self.images = images
        self.preprocess = preprocess
        self.augment = augment
        self.seed = seed
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image, label = self.images[index]
        if self.augment is not None:
            with torch.random.fork_rng(devices=()):
                torch.manual_seed(mixed(self.seed, _AUGMENT, self.epoch, index))
                image = self.augment(image)
        return self.preprocess(image), label


def training_loader(images: TrainingImages, batch_size: int, num_workers: int) -> DataLoader[Any]:
    """The images of an epoch in that epoch's order; a last batch that is not full is left out if there are others."""
    order = np.random.default_rng([images.seed, _ORDER, images.epoch]).permutation(len(images))
    return DataLoader(
        images,
        batch_size=batch_size,
        sampler=order.tolist(),
        num_workers=num_workers,
        drop_last=len(images) >= batch_size,
        generator=torch.Generator(),  # else each epoch would draw from the caller's random numbers
    )
