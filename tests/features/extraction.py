"""A small network, images to extract its features from, and the counts of what was done for them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from transferkit.backbones.backbone import Backbone
from transferkit.backbones.create import create_backbone
from transferkit.data.imageset import ImageSet
from transferkit.features.extract import ExtractionStats, extract_features


def network() -> Backbone:
    torch.manual_seed(0)
    return create_backbone("resnet18", weights=None, source="torchvision", input_size=32)


def photographs(n: int, seed: int = 0) -> ImageSet:
    pixels = np.random.default_rng(seed).integers(0, 256, (n, 40, 40, 3), dtype=np.uint8)
    return ImageSet.from_arrays(pixels, np.arange(n) % 3)


def write_photographs(folder: Path, n: int) -> list[Path]:
    folder.mkdir()
    images = photographs(n)
    for i in range(n):
        images.image(i).save(folder / f"{i:03}.png")
    return sorted(folder.iterdir())


def tensors(backbone: Backbone, images: ImageSet) -> torch.Tensor:
    return torch.stack([backbone.preprocess(images.image(i)) for i in range(len(images))])


def extract(backbone: Backbone, dataset: Any, stages: list[str] | None = None, **options: Any) -> Any:
    """Features and what was done for them."""
    stats = ExtractionStats()
    return extract_features(backbone, dataset, stages, stats=stats, **options), stats
