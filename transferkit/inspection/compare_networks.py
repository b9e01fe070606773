"""Networks beside each other: published accuracy, operations, parameters, activations, and measured speed.

Canziani, Paszke & Culurciello 2017, An analysis of deep neural network models for practical applications (figure 2).
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from transferkit.backbones.create import create_backbone_from_config
from transferkit.backbones.imagenet_accuracy import Accuracy, published_accuracy
from transferkit.backbones.without_memory import backbone_without_memory
from transferkit.config.compose import load_backbone_settings
from transferkit.device import run_place
from transferkit.features.inference_network import InferenceNetwork
from transferkit.inspection.inspected import inspect_layers
from transferkit.inspection.layers import add_up

log = logging.getLogger(__name__)

_BATCH = 16
_SECONDS = 1.0
_LEAST = 3
"""Batches that are timed at least."""


@dataclass(frozen=True)
class Network:
    """One of several networks.

    Attributes:
        name: As it was given.
        size: Height and width of its input in pixels.
        parameters: All of them.
        multiply_adds: For one image.
        values: Activations of all layers for one image.
        accuracy: Of its default weights; None if it is not published.
        speed: Images a second through its frozen stages on this machine; None if not measured.
    """

    name: str
    size: tuple[int, int]
    parameters: int
    multiply_adds: int
    values: int
    accuracy: Accuracy | None
    speed: float | None


@dataclass(frozen=True)
class Networks:
    """Networks, in the order given, and where their speed was measured.

    Attributes:
        rows: The networks.
        place: Device and precision; empty if nothing was measured.
    """

    rows: tuple[Network, ...]
    place: str


def compare_networks(settings: Mapping[str, Any]) -> Networks:
    """Count, look up and time the networks of `inspect.compare`.

    Args:
        settings: The resolved configuration: `inspect`, `trainer`.

    Raises:
        TransferkitError: One of them is unknown, or cannot be cut into stages.
    """
    rows, timed = [], settings["inspect"]["speed"]
    for name in settings["inspect"]["compare"]:
        config = {**load_backbone_settings(name), "weights": None}
        backbone = backbone_without_memory(config)
        total = add_up(inspect_layers(backbone))
        size = backbone.preprocess.input_size
        accuracy = published_accuracy(backbone.spec.source, backbone.spec.name, size[0])
        speed = images_per_second(config, settings) if timed else None
        rows.append(Network(name, size, total.parameters, total.multiply_adds, total.values, accuracy, speed))
        log.info("%s: counted%s.", name, f", {speed:.0f} images a second" if speed else "")
    device, precision = run_place(settings)
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return Networks(tuple(rows), f"{kind}, {precision}, batches of {_BATCH}" if timed else "")


def images_per_second(config: Mapping[str, Any], settings: Mapping[str, Any]) -> float:
    """The speed of extracting a network's top features from images that are decoded; with random weights."""
    device, precision = run_place(settings)
    backbone = create_backbone_from_config({**config, "weights": None})
    network = InferenceNetwork(backbone.truncate(backbone.top), "auto", device, precision)
    images = torch.rand(_BATCH, 3, *backbone.preprocess.input_size)
    network(images, [backbone.top])
    batches, start = 0, time.perf_counter()
    while batches < _LEAST or time.perf_counter() - start < _SECONDS:
        network(images, [backbone.top])  # ends when the features are in memory
        batches += 1
    return batches * _BATCH / (time.perf_counter() - start)
