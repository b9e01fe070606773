"""Training batches whose content depends only on the seed and the epoch, not on loading or resuming."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from transferkit.data.augment import Augment
from transferkit.data.imageset import ImageSet
from transferkit.data.sources.generated import mixed
from transferkit.features.stored_inputs import StoredInputs

_ORDER, _AUGMENT, _STEP = range(3)


def seed_step(seed: int, step: int) -> None:
    """Make the random numbers of a training step (dropout) the same after resuming."""
    torch.manual_seed(mixed(seed, _STEP, step))


class Items(Protocol):
    """Images with their labels: an `ImageSet` or a substitute."""

    def __len__(self) -> int:
        """Number of images."""

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """One input and its label."""


def augmented(image: Any, augment: Augment, seed: int, turn: int, number: int) -> Any:
    """One augmented image; its random numbers depend on the seed, the pass and the image's index."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(mixed(seed, _AUGMENT, turn, number))
        return augment(image)


def view_of(image: Any, augment: Augment, seed: int, view: int, identity: str) -> Any:
    """One of the fixed views of an image, whose random numbers depend on its content."""
    return augmented(image, augment, seed, view, int(identity, 16))


def epoch_order(size: int, seed: int, epoch: int, passes: int) -> npt.NDArray[np.int64]:
    """Indices of `size` images in the order of the epoch, over several passes."""
    first = epoch * passes
    turns = [np.random.default_rng([seed, _ORDER, first + i]).permutation(size) for i in range(passes)]
    return np.concatenate([i * size + turn for i, turn in enumerate(turns)])


class TrainingImages(Dataset[tuple[Tensor, Any]]):
    """Images of one epoch, augmented and preprocessed, each with its own random numbers in each pass.

    Args:
        images: The images.
        preprocess: From an image to the input tensor; None if they are tensors already.
        augment: Augmentation before that, from torch's global generator; None for none.
        seed: Of the run.
        epoch: Counted from 0.
        passes: Passes over the images per epoch.
        views: Number of fixed views of each image, one per pass, then repeated; their random numbers depend on the
            image's content. None for new views in every pass.
    """

    def __init__(
        self,
        images: Items,
        preprocess: Callable[[Image.Image], Tensor] | None,
        augment: Augment | None = None,
        seed: int = 0,
        epoch: int = 0,
        passes: int = 1,
        views: int | None = None,
    ) -> None:
        self.images = images
        self.preprocess = preprocess
        self.augment = augment
        self.seed = seed
        self.epoch = epoch
        self.passes = passes
        self.views = views
        self._ids = images.ids() if views is not None and isinstance(images, ImageSet) else None

    def __len__(self) -> int:
        return len(self.images) * self.passes

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        turn, index = divmod(index, len(self.images))
        image, label = self.images[index]
        if self.augment is not None:
            numbers = self._numbers(self.epoch * self.passes + turn, index)
            image = augmented(image, self.augment, self.seed, *numbers)
            if self.preprocess is not None:
                return self.augment.pixels(image, self.preprocess), label
        return (image if self.preprocess is None else self.preprocess(image)), label

    def _numbers(self, turn: int, index: int) -> tuple[int, int]:
        turn = turn if self.views is None else turn % self.views
        return turn, index if self._ids is None else int(self._ids[index], 16)

    def order(self) -> npt.NDArray[np.int64]:
        """The indices of all images in this epoch's order."""
        return epoch_order(len(self.images), self.seed, self.epoch, self.passes)


class StoredEpoch(Dataset[tuple[Tensor, Tensor]]):
    """One epoch over stored inputs, read batch by batch; arguments as for `TrainingImages`."""

    def __init__(self, inputs: StoredInputs, seed: int = 0, epoch: int = 0, passes: int = 1) -> None:
        self.inputs = inputs
        self.seed = seed
        self.epoch = epoch
        self.passes = passes

    def __len__(self) -> int:
        return len(self.inputs) * self.passes

    def __getitem__(self, places: Any) -> tuple[Tensor, Tensor]:
        turns, indices = np.divmod(np.asarray(places), len(self.inputs))
        return self.inputs.batch(indices, (self.epoch * self.passes + turns) % self.inputs.views)

    def order(self) -> npt.NDArray[np.int64]:
        """The indices of all images in this epoch's order."""
        return epoch_order(len(self.inputs), self.seed, self.epoch, self.passes)


def training_loader(
    images: TrainingImages | StoredEpoch, batch_size: int, num_workers: int, rank: int = 0, processes: int = 1
) -> DataLoader[Any]:
    """The images of an epoch in that epoch's order; a last batch that is not full is dropped if there are others.

    Args:
        images: Of the epoch.
        batch_size: Images per batch over all processes.
        num_workers: Processes that load images.
        rank: Of `processes` that share each batch, the one that this loader is for.
        processes: Number of processes that share each batch.
    """
    order = images.order()
    if len(images) >= batch_size:
        order = order[: len(images) // batch_size * batch_size]
    share = batch_size // processes
    mine = [order[start : start + share].tolist() for start in range(rank * share, len(order), batch_size)]
    return batch_loader(images, mine, num_workers)


def batch_loader(images: Dataset[Any], batches: list[list[int]], num_workers: int) -> DataLoader[Any]:
    """These batches, in order; stored inputs read each at once."""
    generator = torch.Generator()  # otherwise each epoch would use the caller's random numbers
    if isinstance(images, StoredEpoch):
        return DataLoader(images, None, sampler=batches, num_workers=num_workers, generator=generator)
    return DataLoader(images, batch_sampler=batches, num_workers=num_workers, generator=generator)
