"""What generated sets share: their counts, their random numbers, their splits."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from transferkit.data.imageset import ImageSet

Draw = Callable[[NDArray[np.int64], int], NDArray[np.uint8]]
"""From labels (N,) and a seed to images (N, H, W)."""

_HELD_OUT = 10  # val and test have a tenth of the training images each


def mixed(*numbers: int) -> int:
    """A seed of its own for each combination of numbers, none negative."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def seeded(seed: int) -> torch.Generator:
    """A generator that starts from `seed`."""
    return torch.Generator().manual_seed(seed)


def generated_splits(cfg: Mapping[str, Any], draw: Draw, chunk: int) -> dict[str, ImageSet]:
    """Train, val and test, each with as many images of every class as of any other, give or take one.

    Args:
        cfg: `images` (of train), `classes` and `seed`.
        draw: Makes the images.
        chunk: How many it makes at a time.
    """
    few = max(cfg["images"] // _HELD_OUT, cfg["classes"])
    splits: dict[str, ImageSet] = {}
    for stream, (name, count) in enumerate({"train": cfg["images"], "val": few, "test": few}.items()):
        order = np.random.default_rng([cfg["seed"], stream]).permutation(count)
        labels = (order % cfg["classes"]).astype(np.int64)
        starts = range(0, count, chunk)
        parts = [draw(labels[at : at + chunk], mixed(cfg["seed"], stream, at)) for at in starts]
        splits[name] = ImageSet.from_arrays(np.concatenate(parts), labels)
    return splits
