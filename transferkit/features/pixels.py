"""Cache of decoded, resized and cropped images, before normalisation."""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor

from transferkit.data.images import DECODE_VERSION
from transferkit.data.preprocess import Preprocessing
from transferkit.features.identities import shards_of, to_ids
from transferkit.features.shard_blocks import Layout
from transferkit.features.store import CacheEntry, FeatureCache


def describe_pixels(preprocess: Preprocessing) -> dict[str, Any]:
    """Everything that determines the pixels, except the image; networks with equal values share them."""
    geometry = {key: value for key, value in preprocess.to_dict().items() if key not in ("mean", "std", "crop_pct")}
    return {
        "decode": DECODE_VERSION,
        "preprocessing": geometry,
        "versions": {name: version(name) for name in ("torchvision", "pillow")},
    }


def pixels_entry(cache: FeatureCache, preprocess: Preprocessing) -> CacheEntry:
    """The entry of these pixels."""
    return cache.entry(describe_pixels(preprocess), "pixels")


class KeptPixels:
    """The cached pixels of a data set, for `open_source`.

    Args:
        entry: Has rows (3, H, W), uint8; further ones are added while images are decoded.
        names: Identity of each image.
        size: Height and width.
    """

    def __init__(self, entry: CacheEntry, names: Sequence[str], size: tuple[int, int]) -> None:
        self._entry = entry
        self._ids = to_ids(names)
        self._shards = shards_of(self._ids)
        self._layout = Layout(np.dtype(np.uint8).str, (3, *size))

    def places(self, positions: Sequence[int]) -> list[int]:
        """The row of each image in its shard; -1 for those that must be decoded."""
        places: list[int] = self._entry.find(self._ids[np.asarray(positions, dtype=np.int64)]).tolist()
        return places

    def read(self, position: int, place: int) -> Tensor:
        """The pixels of one image (3, H, W), uint8."""
        return torch.from_numpy(self._entry.row(int(self._shards[position]), place, self._layout))
