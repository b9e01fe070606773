"""The test protocols by their configuration name; `center` evaluates one view of each image, the others several.

The result of several views is the mean of their probabilities; of numbers, of the values.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from transferkit.arrays import Features, Probabilities
from transferkit.data.imageset import ImageSet
from transferkit.device import find_device, find_precision
from transferkit.features.extract import Extractor, join_stages
from transferkit.features.from_settings import Extract, create_extractor
from transferkit.features.inference_network import PART, InferenceNetwork
from transferkit.models.dense_network import DenseNetwork
from transferkit.models.transfer_model import Head, TransferModel, check_finite
from transferkit.models.views import at_scale, grid_crops, scales_in_pixels, ten_crops, view_batches, whole_batches
from transferkit.targets.target import Target


@dataclass(frozen=True)
class ProtocolResult:
    """The result of a protocol.

    Attributes:
        probabilities: (N, K); outputs of another target than classes.
        views: Inputs of the network for each image.
        seconds: The time of all images.
    """

    probabilities: Probabilities
    views: int
    seconds: float = 0.0


@dataclass(frozen=True)
class ToTest:
    """The model and images to test, and how they are read and computed.

    Attributes:
        model: In eval mode.
        images: N images.
        extract: Computes features of the model's stages; where it has a cache, they are computed once.
        settings: The resolved configuration.
        name: Of the protocol, for messages.
    """

    model: TransferModel
    images: ImageSet
    extract: Extract
    settings: Mapping[str, Any]
    name: str

    @cached_property
    def run(self) -> Extractor:
        """Device, precision and batches, for protocols that compute more than `extract` does."""
        return create_extractor(self.settings)

    @property
    def place(self) -> tuple[torch.device, str]:
        """The device and the precision."""
        device = find_device(self.run.device)
        return device, find_precision(self.run.precision, device)


def run_protocols(
    settings: Mapping[str, Any], model: TransferModel, images: ImageSet, extract: Extract
) -> dict[str, ProtocolResult]:
    """Return the results of the configured protocols, in the order given.

    Args:
        settings: The resolved configuration; its node `protocol` has a mapping of keys for each protocol.
        model: In eval mode.
        images: N images.
        extract: Computes features.

    Raises:
        TransferkitError: A protocol does not go with the network, images cannot be read, or outputs are
            not finite.
    """
    found: dict[str, ProtocolResult] = {}
    for name, keys in settings["protocol"].items():
        start = time.perf_counter()
        tested = PROTOCOLS[name](ToTest(model, images, extract, settings, name), keys)
        check_finite(tested.probabilities, images.names)
        found[name] = ProtocolResult(tested.probabilities, tested.views, time.perf_counter() - start)
    return found


def center_probabilities(model: TransferModel, images: ImageSet, extract: Extract) -> Probabilities:
    """Return the outputs (N, K) of a model for `images`, resized and centre-cropped as the weights define it.

    They are class probabilities, or what else its target says.

    Args:
        model: In eval mode.
        images: N images.
        extract: Computes the features of the model's stages; where it has a cache, they are computed once.
    """
    features = extract(model.backbone, images, model.stages, model.pool)
    return head_outputs(model.head, model.target, join_stages(features, model.stages))


@torch.inference_mode()
def head_outputs(head: Head, target: Target, features: Features) -> Probabilities:
    """Return the outputs (N, K) of the head's logits on pooled features (N, D)."""
    outputs: Probabilities = target.outputs(head.cpu()(torch.from_numpy(np.array(features)))).numpy()
    return outputs


def _center(to_test: ToTest, keys: Mapping[str, Any]) -> ProtocolResult:
    return ProtocolResult(center_probabilities(to_test.model, to_test.images, to_test.extract), 1)


def _ten_crop(to_test: ToTest, keys: Mapping[str, Any]) -> ProtocolResult:
    sizes = _sizes(to_test, keys)
    return _crops(to_test, partial(ten_crops, sizes=sizes), 10 * len(sizes))


def _multi_crop(to_test: ToTest, keys: Mapping[str, Any]) -> ProtocolResult:
    sizes, grid, flips = _sizes(to_test, keys), keys["grid"], keys["flips"]
    view = partial(grid_crops, sizes=sizes, grid=grid, flips=flips)
    return _crops(to_test, view, grid**2 * len(sizes) * (1 + flips))


def _dense(to_test: ToTest, keys: Mapping[str, Any]) -> ProtocolResult:
    """The mean of the probabilities of whole images and their mirror images, at every scale."""
    device, precision = to_test.place
    network = DenseNetwork(to_test.model, keys["average"], device, precision)
    most = min(to_test.run.batch_size, PART) if device.type == "cpu" else to_test.run.batch_size
    sizes, flips = _sizes(to_test, keys), keys["flips"]
    found = np.zeros((len(to_test.images), len(to_test.model.class_names)), np.float32)
    for size in sizes:
        label = f"Testing {to_test.name}, {min(size.resize_size)} pixels"
        for positions, inputs in whole_batches(to_test.images, size, most, to_test.run.num_workers, label):
            views = [inputs, inputs.flip(3)] if flips else [inputs]
            found[positions] += sum(network(part).numpy() for part in views) / len(views)
    found /= len(sizes)
    return ProtocolResult(found, len(sizes) * (1 + flips))


def _multi_crop_dense(to_test: ToTest, keys: Mapping[str, Any]) -> ProtocolResult:
    parts = _multi_crop(to_test, keys), _dense(to_test, keys)
    mean: Probabilities = np.mean([part.probabilities for part in parts], axis=0)
    return ProtocolResult(mean, parts[0].views + parts[1].views)


def _crops(to_test: ToTest, view: Callable[[Image.Image], Tensor], count: int) -> ProtocolResult:
    """The mean of the probabilities of so many crops of each image."""
    model, run, (device, precision) = to_test.model, to_test.run, to_test.place
    network = InferenceNetwork(model.backbone.truncate(model.stages[-1]), model.pool, device, precision)
    network.decide(run.compile, len(to_test.images) * count, (3, *model.preprocess.input_size))
    found = np.empty((len(to_test.images), len(model.class_names)), np.float32)
    per_batch = max(1, run.batch_size // count)
    for positions, views in view_batches(to_test.images, view, per_batch, run.num_workers, f"Testing {to_test.name}"):
        features = network(views.flatten(0, 1), model.stages)
        probabilities = head_outputs(model.head, model.target, join_stages(features, model.stages))
        found[positions] = probabilities.reshape(len(positions), count, -1).mean(axis=1)
    return ProtocolResult(found, count)


def _sizes(to_test: ToTest, keys: Mapping[str, Any]) -> list[Any]:
    preprocess = to_test.model.preprocess
    sides = scales_in_pixels(keys["scales"], preprocess, f"protocol.{to_test.name}.scales")
    return [at_scale(preprocess, side) for side in sides]


PROTOCOLS: dict[str, Callable[[ToTest, Mapping[str, Any]], ProtocolResult]] = {
    "center": _center,
    "ten_crop": _ten_crop,
    "multi_crop": _multi_crop,
    "dense": _dense,
    "multi_scale": _dense,
    "multi_crop_dense": _multi_crop_dense,
}
"""Name to the function from what is tested, and the protocol's keys, to the result."""
