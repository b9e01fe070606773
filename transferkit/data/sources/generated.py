"""Common parts of generated data sets: counts, random numbers, splits."""

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
    """A distinct seed for each combination of non-negative numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def seeded(seed: int) -> torch.Generator:
    """A generator that starts from `seed`."""
    return torch.Generator().manual_seed(seed)


def generated_splits(cfg: Mapping[str, Any], draw: Draw, chunk: int) -> dict[str, ImageSet]:
    """Train, val and test, each with the same number of images per class, plus or minus one.

    Args:
        cfg: `images` (of train), `classes` and `seed`.
        draw: Generates the images.
        chunk: Images generated at a time.
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
