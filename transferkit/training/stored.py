"""Inputs computed once: what is frozen and has a deterministic input is not computed again in every epoch."""

import copy
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from transferkit.backbones.backbone import Backbone
from transferkit.data.imageset import ImageSet
from transferkit.progress import progress
from transferkit.training.batches import TrainingImages

log = logging.getLogger(__name__)

BATCH = 64


class StoredInputs:
    """Tensors in memory in place of images.

    Attributes:
        tensors: (N, ...), what the network takes up: preprocessed images, or what leaves a frozen stage.
    """

    def __init__(self, tensors: Tensor, labels: Any) -> None:
        self.tensors = tensors
        self._labels = labels

    def __len__(self) -> int:
        return len(self.tensors)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.tensors[index], int(self._labels[index])


Inputs = ImageSet | StoredInputs


@dataclass(frozen=True)
class Place:
    """Where training begins.

    Attributes:
        stored: Whether the inputs are computed once and kept in memory.
        stage: The frozen stage after which they are taken; None for preprocessed images.
        megabytes: What they take.
    """

    stored: bool
    stage: str | None = None
    megabytes: float = 0.0


def choose_place(backbone: Backbone, prefix: tuple[str, ...], image: Tensor, images: int, limit_gb: float) -> Place:
    """As deep as the frozen stages go, as far as memory allows.

    Args:
        backbone: The network.
        prefix: Its leading frozen stages.
        image: One input (3, H, W).
        images: How many there are.
        limit_gb: Most memory to be taken.
    """
    places: list[tuple[str | None, Tensor]] = [(None, image)]
    if prefix:
        with torch.no_grad():
            state = copy.deepcopy(backbone).eval().forward_stages(image[None], [prefix[-1]])[prefix[-1]]
        if isinstance(state, Tensor):
            places.insert(0, (prefix[-1], state[0]))
    for stage, one in places:
        size = one.numel() * one.element_size() * images
        if size <= limit_gb * 1e9:
            return Place(True, stage, size / 1e6)
    return Place(False)


def store_inputs(
    backbone: Backbone,
    images: ImageSet,
    preprocess: Callable[[Image.Image], Tensor],
    place: Place,
    device: torch.device,
    num_workers: int,
) -> StoredInputs:
    """Compute the inputs of a split.

    Args:
        backbone: Left as it is.
        images: The split.
        preprocess: From an image to (3, H, W).
        place: Where to take them.
        device: That computes them; they are kept in main memory.
        num_workers: Processes that decode.
    """
    network = None
    if place.stage is not None:
        network = copy.deepcopy(backbone.truncate(place.stage)).eval().to(device).to(memory_format=torch.channels_last)
    loader = DataLoader(TrainingImages(images, preprocess), BATCH, num_workers=num_workers, generator=torch.Generator())
    kept: Tensor | None = None
    start = 0
    with progress("Computing inputs", len(images)) as advance, torch.no_grad():
        for batch, _ in loader:
            if network is not None:
                batch = network(batch.to(device).contiguous(memory_format=torch.channels_last)).cpu().contiguous()
            if kept is None:
                kept = torch.empty((len(images), *batch.shape[1:]), dtype=batch.dtype)
            kept[start : start + len(batch)] = batch
            start += len(batch)
            advance(len(batch))
    return StoredInputs(torch.empty(0) if kept is None else kept, images.labels)
