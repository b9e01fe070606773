"""Training batches whose content depends on the seed and the epoch only, however they are loaded and resumed."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from transferkit.augment import Augment
from transferkit.data.generated import mixed

_ORDER, _AUGMENT, _STEP = range(3)


def seed_step(seed: int, step: int) -> None:
    """Make what is random in a training step (dropout) the same after resuming."""
    torch.manual_seed(mixed(seed, _STEP, step))


class Items(Protocol):
    """Inputs with their labels: an `ImageSet`, or tensors that stand for one."""

    def __len__(self) -> int:
        """How many."""

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """One input and its label."""


class TrainingImages(Dataset[tuple[Tensor, int]]):
    """Images of one epoch, augmented and preprocessed; each with random numbers of its own in each pass.

    Args:
        images: The images.
        preprocess: From an image to the input tensor; None where they are tensors already.
        augment: Random changes before that, from torch's global generator; None for none.
        seed: Of the run.
        epoch: Counted from 0.
        passes: How often each image comes in an epoch.
    """

    def __init__(
        self,
        images: Items,
        preprocess: Callable[[Image.Image], Tensor] | None,
        augment: Augment | None = None,
        seed: int = 0,
        epoch: int = 0,
        passes: int = 1,
    ) -> None:
        self.images = images
        self.preprocess = preprocess
        self.augment = augment
        self.seed = seed
        self.epoch = epoch
        self.passes = passes

    def __len__(self) -> int:
        return len(self.images) * self.passes

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        turn, index = divmod(index, len(self.images))
        image, label = self.images[index]
        if self.augment is not None:
            with torch.random.fork_rng(devices=()):
                torch.manual_seed(mixed(self.seed, _AUGMENT, self.epoch * self.passes + turn, index))
                image = self.augment(image)
        return (image if self.preprocess is None else self.preprocess(image)), label

    def order(self) -> npt.NDArray[np.int64]:
        """The places of all images in an order that the epoch decides, one pass after the other."""
        size, first = len(self.images), self.epoch * self.passes
        turns = [np.random.default_rng([self.seed, _ORDER, first + i]).permutation(size) for i in range(self.passes)]
        return np.concatenate([i * size + turn for i, turn in enumerate(turns)])


def training_loader(
    images: TrainingImages, batch_size: int, num_workers: int, rank: int = 0, processes: int = 1
) -> DataLoader[Any]:
    """The images of an epoch in that epoch's order; a last batch that is not full is left out if there are others.

    Args:
        images: Of the epoch.
        batch_size: Images of a batch over all processes.
        num_workers: Processes that load images.
        rank: Of `processes` that share each batch, the one that this loader is for.
        processes: How many share each batch.
    """
    order = images.order()
    if len(images) >= batch_size:
        order = order[: len(images) // batch_size * batch_size]
    share = batch_size // processes
    mine = [i for start in range(rank * share, len(order), batch_size) for i in order[start : start + share].tolist()]
    return DataLoader(
        images,
        batch_size=share,
        sampler=mine,
        num_workers=num_workers,
        generator=torch.Generator(),  # else each epoch would draw from the caller's random numbers
    )
