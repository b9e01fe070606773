"""Images: the folder that was given, or JPEGs of a photograph's size with classes that can be told apart."""

import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from benchmarks.speed.options import Options

WIDTH, HEIGHT = 500, 375
TRAIN, TEST = 244, 153
"""As many images as ants and bees has."""


def ants_and_bees(options: Options) -> Path:
    """The folder that was given, or a generated one of that many images; in quick runs always a small generated one."""
    if options.data is not None and not options.quick:
        return options.data
    return generated(options, options.of(TRAIN, 24), options.of(TEST, 8))


def generated(options: Options, train: int, test: int, classes: int = 2) -> Path:
    """A folder with `train/` and `val/`, made once; `classes` folders each."""
    root = options.out / "images" / f"{train}_{test}_{classes}"
    if root.is_dir():
        return root
    temporary = root.with_name(root.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    places = []
    for split, number, first in (("train", train, 0), ("val", test, train)):
        for i in range(number):
            folder = temporary / split / f"class{i % classes}"
            folder.mkdir(parents=True, exist_ok=True)
            places.append((first + i, i % classes, folder / f"{i:05d}.jpg"))
    with ThreadPoolExecutor(options.threads) as pool:
        list(pool.map(lambda place: _write(place[0], place[1], place[2], classes), places))
    temporary.rename(root)
    return root


def _write(seed: int, label: int, path: Path, classes: int) -> None:
    """Blobs of colour, stripes whose direction the class decides (half hidden in noise), and a camera's noise."""
    rng = np.random.default_rng(seed)
    blobs = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize(
        (WIDTH, HEIGHT), Image.Resampling.BICUBIC
    )
    angle = np.pi * (label + rng.normal(0, 0.15)) / classes
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    stripes = 30 * np.sin((x * np.cos(angle) + y * np.sin(angle)) / 6 + rng.uniform(0, 6))
    noise = np.tile(rng.normal(0, 10, (75, 100, 3)), (5, 5, 1))
    pixels = np.asarray(blobs, np.float32) * 0.7 + 38 + stripes[..., None] + noise
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)


class Files(Dataset[tuple[Any, int]]):
    """Image files with labels, as `torchvision.datasets.ImageFolder` gives them."""

    def __init__(self, names: Sequence[str], labels: Sequence[int], transform: Any) -> None:
        self.names = list(names)
        self.labels = [int(label) for label in labels]
        self.transform = transform

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        with Image.open(self.names[index]) as image:
            return self.transform(image.convert("RGB")), self.labels[index]


class Tensors(Dataset[torch.Tensor]):
    """Images that are decoded already: tensors (3, 224, 224) in memory.

    Attributes:
        warm: Images after which a network that is given them in order is taken to be warm.
        warm_at: When the one after these was last asked for.
    """

    def __init__(self, number: int, warm: int = 0, seed: int = 0) -> None:
        self.warm, self.warm_at = warm, 0.0
        self.tensors = torch.randn(number, 3, 224, 224, generator=torch.Generator().manual_seed(seed))

    def __len__(self) -> int:
        return len(self.tensors)

    def __getitem__(self, index: int) -> torch.Tensor:
        if index == self.warm:
            self.warm_at = time.perf_counter()
        return self.tensors[index]
