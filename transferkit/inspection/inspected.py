"""Everything that an inspection found, and its tables as files."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from transferkit.backbones.backbone import Backbone
from transferkit.files import write_csv, write_json
from transferkit.inspection.activation_statistics import Measured
from transferkit.inspection.amounts import one_side, shape, sides
from transferkit.inspection.filters import Filters
from transferkit.inspection.layers import BYTES, Layer, Sum, add_up, by_stage, in_order
from transferkit.inspection.training_memory import StepCost
from transferkit.inspection.watch import watch

COLUMNS = (
    *("stage", "layer", "kind", "filters", "kernel", "stride", "padding", "groups", "activation", "output", "values"),
    *("bytes", "weights", "biases", "parameters", "multiply_adds", "receptive_field", "receptive_field_stride"),
    *("share_of_values", "share_of_parameters", "share_of_multiply_adds"),
)

STATISTICS = (
    *("stage", "layer", "kind", "activation", "mean", "std", "units", "dead_units", "gradient_norm", "parameter_norm"),
)


@dataclass(frozen=True)
class Inspected:
    """A network.

    Attributes:
        name: Of the network.
        weights: Name of its weights; empty if none were needed.
        size: Height and width of the input in pixels.
        precision: Of activations, as `device.find_precision` returns it.
        layers: A row each, the input first.
        costs: Of a training step.
        strategy: Whose phases the costs are of.
        batch: Images in a step of that strategy.
        filters: Of the first convolution, where weights were read.
        measured_layers: The rows of `measured`.
        measured: On real images.
    """

    name: str
    weights: str
    size: tuple[int, int]
    precision: str
    layers: Sequence[Layer]
    costs: Sequence[StepCost]
    strategy: str
    batch: int
    filters: Filters | None = None
    measured_layers: Sequence[Layer] = ()
    measured: Measured | None = None

    @property
    def total(self) -> Sum:
        """Of all layers."""
        return add_up(self.layers)

    @property
    def stages(self) -> dict[str, Sum]:
        """Of each stage."""
        return {stage: add_up(layers, stage) for stage, layers in by_stage(self.layers).items()}

    @property
    def bytes_per_value(self) -> int:
        """Of an activation."""
        return BYTES[self.precision]


def inspect_layers(backbone: Backbone) -> list[Layer]:
    """A row for each layer of a backbone at its input size; computes nothing if it is on the meta device.

    The first row is the image. Multiply-adds are counted by torch's flop counter; outputs of layers are counted with
    their activation function applied, in eval mode, for one image.
    """
    place = next(backbone.parameters()).device
    image = torch.zeros(1, 3, *backbone.preprocess.input_size, device=place)
    return in_order(watch(dict(backbone.stages.items()), image)[0])


def write_tables(folder: Path, inspected: Inspected) -> None:
    """Write layers.csv, statistics.csv where images were measured, and inspect.json."""
    write_csv(folder / "layers.csv", COLUMNS, _rows(inspected))
    if inspected.measured is not None:
        write_csv(folder / "statistics.csv", STATISTICS, _statistics(inspected.measured_layers, inspected.measured))
    write_json(folder / "inspect.json", as_json(inspected))


def as_json(inspected: Inspected) -> dict[str, Any]:
    """The totals as plain values."""
    return {
        "backbone": inspected.name,
        "weights": inspected.weights or None,
        "input_size": list(inspected.size),
        "precision": inspected.precision,
        "total": _sum(inspected.total, inspected.bytes_per_value),
        "stages": {stage: _sum(one, inspected.bytes_per_value) for stage, one in inspected.stages.items()},
        "training": {
            "strategy": inspected.strategy,
            "batch_size": inspected.batch,
            "steps": [_cost(cost, inspected.batch, inspected.precision) for cost in inspected.costs],
        },
        "measured_images": inspected.measured.images if inspected.measured is not None else 0,
    }


def _sum(one: Sum, size: int) -> dict[str, int]:
    return {
        "layers": one.layers,
        "values": one.values,
        "bytes": one.values * size,
        "weights": one.weights,
        "biases": one.biases,
        "parameters": one.parameters,
        "multiply_adds": one.multiply_adds,
    }


def _cost(cost: StepCost, images: int, precision: str) -> dict[str, Any]:
    return {
        "phase": cost.name,
        "trained": list(cost.trained),
        "trainable_parameters": cost.parameters,
        "activation_bytes": cost.activation_bytes(images, precision),
        "gradient_bytes": cost.gradient_bytes,
        "optimizer_bytes": cost.optimizer_bytes,
        "total_bytes": cost.total_bytes(images, precision),
        "multiply_adds_per_image": cost.multiply_adds,
        "multiply_adds_per_image_of_frozen_stages": cost.frozen_multiply_adds,
    }


def _rows(inspected: Inspected) -> Iterator[Sequence[object]]:
    total = inspected.total
    for layer in inspected.layers:
        yield [
            *(layer.stage, layer.name, layer.kind, layer.filters or "", sides(layer.kernel), one_side(layer.stride)),
            *(one_side(layer.padding), layer.groups if layer.filters else "", layer.activation, shape(layer.output)),
            *(layer.values, layer.values * inspected.bytes_per_value, layer.weights, layer.biases, layer.parameters),
            *(
                layer.multiply_adds,
                layer.field.text if layer.field else "",
                layer.field.step_text if layer.field else "",
            ),
            _part(layer.values, total.values),
            _part(layer.parameters, total.parameters),
            _part(layer.multiply_adds, total.multiply_adds),
        ]


def _part(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 0.0


def _statistics(layers: Sequence[Layer], measured: Measured) -> Iterator[Sequence[object]]:
    for row, layer in enumerate(layers):
        if row in measured.activations:
            found = measured.activations[row]
            yield [
                *(layer.stage, layer.name, layer.kind, layer.activation, f"{found.mean:.6g}", f"{found.std:.6g}"),
                *(found.units, found.dead, _given(measured.gradients, row), _given(measured.weights, row)),
            ]


def _given(values: Mapping[int, float], row: int) -> str:
    return f"{values[row]:.6g}" if row in values else ""
