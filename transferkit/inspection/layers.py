"""The rows of an inspection as data: a layer each, and their sums by stage."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from transferkit.inspection.receptive_field import ReceptiveField

Pair = tuple[int, int]

BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}
"""Bytes of a value in each format that `device.find_precision` returns."""


@dataclass(frozen=True)
class Layer:
    """One layer, for one image.

    Attributes:
        stage: The stage that it belongs to; empty for the input.
        name: Its path in the network: "features.0", "layer1.0.conv1".
        kind: "convolution", "linear", "max pool", "batch norm", "add", "attention", ...
        output: Shape of its output without the batch: (C, H, W), (L, C) or (C,).
        filters: Output channels of a convolution or linear layer.
        kernel: Height and width of the window of a convolution or pooling.
        stride: Of the window.
        padding: Zeros added on each side.
        groups: Of a grouped convolution.
        activation: The activation function applied to its output.
        weights: Parameters without biases.
        biases: Parameters whose name ends with "bias".
        multiply_adds: Multiplications, each with an addition, of matrix products and convolutions, by torch's counter.
        field: The part of the image that one value of the output depends on.
        in_place: Whether the output overwrites the input, so that it needs no memory of its own.
    """

    stage: str
    name: str
    kind: str
    output: tuple[int, ...]
    filters: int | None = None
    kernel: Pair | None = None
    stride: Pair | None = None
    padding: Pair | None = None
    groups: int = 1
    activation: str = ""
    weights: int = 0
    biases: int = 0
    multiply_adds: int = 0
    field: ReceptiveField | None = None
    in_place: bool = False

    @property
    def values(self) -> int:
        """Activation memory in values."""
        return 0 if self.in_place else math.prod(self.output)

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return self.weights + self.biases


@dataclass(frozen=True)
class Sum:
    """Several layers together.

    Attributes:
        stage: Their stage, or "total".
        layers: Number of rows.
        values: Activation memory in values.
        weights: Parameters without biases.
        biases: The others.
        multiply_adds: Of all of them.
        last: The last of them that computes something.
    """

    stage: str
    layers: int
    values: int
    weights: int
    biases: int
    multiply_adds: int
    last: Layer

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return self.weights + self.biases


def add_up(layers: Sequence[Layer], stage: str = "total") -> Sum:
    """The sum of some layers, at least one."""
    return Sum(
        stage,
        len(layers),
        sum(layer.values for layer in layers),
        sum(layer.weights for layer in layers),
        sum(layer.biases for layer in layers),
        sum(layer.multiply_adds for layer in layers),
        next((layer for layer in reversed(layers) if layer.kind != "parameter"), layers[-1]),
    )


def in_order(layers: Sequence[Layer]) -> list[Layer]:
    """Rows of parameters that belong to no layer, which were found last, at the beginning of their stages."""
    ordered = [layer for layer in layers if not layer.stage]
    for stage in dict.fromkeys(layer.stage for layer in layers if layer.stage):
        rows = [layer for layer in layers if layer.stage == stage]
        ordered += sorted(rows, key=lambda layer: layer.kind != "parameter")
    return ordered


def by_stage(layers: Iterable[Layer]) -> dict[str, list[Layer]]:
    """The layers of each stage, in order; the input is in none."""
    stages: dict[str, list[Layer]] = {}
    for layer in layers:
        if layer.stage:
            stages.setdefault(layer.stage, []).append(layer)
    return stages
