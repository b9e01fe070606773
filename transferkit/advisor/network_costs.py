"""Time, parameters and memory of a network, measured with a batch of images."""

import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from transferkit.backbones.backbone import Backbone
from transferkit.data.imageset import ImageSet
from transferkit.features.extract import Extractor
from transferkit.features.inference_network import PART
from transferkit.features.one_decoding import inference_network

_REPEATS = 3
_SECONDS = 2.0
"""No further repeat of a batch begins after this time."""


@dataclass(frozen=True)
class NetworkCost:
    """The cost of a network's features on this machine.

    Attributes:
        seconds: Of 1,000 images through the frozen network, not compiled.
        load_seconds: Of decoding and preprocessing them, in one process.
        parameters: Of the network with its classifier.
        memory: Bytes of the weights, and of the activations that exist at once for a batch of 16 images.
    """

    seconds: float
    load_seconds: float
    parameters: int
    memory: int

    @property
    def total(self) -> float:
        """Seconds from 1,000 image files to features."""
        return self.seconds + self.load_seconds


def measure_costs(backbones: Mapping[str, Backbone], images: ImageSet, extractor: Extractor) -> dict[str, NetworkCost]:
    """Time a batch of images through each network; the shortest of up to three times counts.

    Args:
        backbones: By name.
        images: The first 16 are read.
        extractor: The device and the precision.
    """
    count = min(PART, len(images))
    images.image(0)  # one-time work at the first image
    start = time.perf_counter()
    decoded = [images.image(i) for i in range(count)]
    decoding = (time.perf_counter() - start) / count
    return {name: _measure(backbone, decoded, decoding, extractor) for name, backbone in backbones.items()}


def _measure(backbone: Backbone, decoded: Sequence[Image.Image], decoding: float, extractor: Extractor) -> NetworkCost:
    start = time.perf_counter()
    pixels = torch.stack([backbone.preprocess.pixels(image) for image in decoded])
    loading = decoding + (time.perf_counter() - start) / len(decoded)
    network, top = inference_network(extractor, backbone, backbone.top), [backbone.top]
    batch = pixels[torch.arange(PART) % len(pixels)]
    with _LiveBytes() as live:
        network(batch, top)
    best, end = float("inf"), time.perf_counter() + _SECONDS
    for number in range(_REPEATS):
        if number and time.perf_counter() > end:
            break
        start = time.perf_counter()
        network(batch, top)  # ends when the features are in main memory
        best = min(best, time.perf_counter() - start)
    weights = sum(tensor.nbytes for tensor in (*backbone.parameters(), *backbone.buffers()))
    parameters = sum(parameter.numel() for parameter in backbone.parameters())
    return NetworkCost(1000 * best / PART, 1000 * loading, parameters, weights + live.most)


class _LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors that were made inside and still exist: now, and at most."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.most = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and count the memory of its results that is new."""
        before = {_storage(x)[0] for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        results = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(results):
            if not isinstance(tensor, Tensor):
                continue
            address, size = _storage(tensor)
            if address and address not in before and address not in self._known:
                self._known.add(address)
                self.now += size
                self.most = max(self.most, self.now)
                weakref.finalize(tensor.untyped_storage(), self._freed, address, size)
        return results

    def _freed(self, address: int, size: int) -> None:
        self._known.discard(address)
        self.now -= size


def _storage(tensor: Tensor) -> tuple[int, int]:
    """Address and bytes of a tensor's memory."""
    storage = tensor.untyped_storage()
    return storage.data_ptr(), storage.nbytes()
