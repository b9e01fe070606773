"""The receptive field of an operation's result, by the name of the operation in torch's dispatcher."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from transferkit.inspection.describe_layer import pair
from transferkit.inspection.receptive_field import ReceptiveField, merged, of_all_positions, rearranged, windowed

JOINED = {"add": "add", "mul": "multiply", "cat": "concat"}
"""Operations on several features."""

POOLED = {
    "max_pool2d_with_indices": "max pool",
    "max_pool2d": "max pool",
    "avg_pool2d": "average pool",
    "_adaptive_avg_pool2d": "average pool",
    "adaptive_max_pool2d": "max pool",
    "mean": "average pool",
    "amax": "max pool",
}

PRODUCTS = {
    "mm": "linear",
    "addmm": "linear",
    "bmm": "matrix product",
    "baddbmm": "matrix product",
    "convolution": "convolution",
}

_MOVING = ("max_pool2d_with_indices", "max_pool2d", "avg_pool2d")
_ADAPTIVE = ("_adaptive_avg_pool2d", "adaptive_max_pool2d")


def is_feature(field: ReceptiveField, tensor: Tensor) -> bool:
    """Whether a tensor has one of the usual layouts of a feature: a map, tokens or a vector."""
    shape, channels = tensor.shape, field.channels
    if tensor.ndim == 4:
        return channels in (shape[1], shape[3])
    return tensor.ndim == 2 or (tensor.ndim == 3 and shape[2] == channels)


def field_after(
    name: str,
    args: Sequence[Any],
    tensors: Sequence[Tensor],
    fields: Sequence[ReceptiveField],
    output: Tensor,
    images: int,
) -> ReceptiveField:
    """The receptive field of an operation's result.

    Args:
        name: Of the operation.
        args: Its arguments.
        tensors: Those that are tensors, or in lists.
        fields: Of those that come from the image.
        output: Its first result.
        images: In the batch.
    """
    first = fields[0]
    if name == "convolution" and output.ndim == 4:
        return _convolution(args, first, output)
    if name in _MOVING or name in _ADAPTIVE:
        return _pooling(name, args, rearranged(first, args[0].shape[-3:]), output)
    if name in ("mean", "amax", "sum"):
        pooled = output.numel() == len(output) * first.channels and first.grid != (1, 1)
        return of_all_positions(first, first.channels) if pooled else first
    if "attention" in name or (name in ("bmm", "baddbmm") and len(fields) > 1):
        return _attention(merged(fields), tensors[0].shape[-2], output.numel() // images)
    if name in ("mm", "addmm", "bmm", "baddbmm"):
        return _product(first, tensors[-2].shape[-1], output.shape[-1])
    if name == "slice":
        return _every_other(args, first, output)
    field = merged(fields)
    if name == "cat" and output.ndim == 4 and args[1:] and args[1] in (1, -3):
        return rearranged(field, output.shape[1:])
    if name == "cat" and output.ndim < 4 and args[-1] in (-1, output.ndim - 1):
        return rearranged(field, (output.shape[-1], *field.grid))
    if output.ndim == 4 and output.shape[1] == field.channels:
        return rearranged(field, output.shape[1:])
    return field


def _convolution(args: Sequence[Any], field: ReceptiveField, output: Tensor) -> ReceptiveField:
    inputs, weight, stride, dilation = args[0], args[1], pair(args[3]), pair(args[5])
    kernel = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilation, strict=True)]
    return windowed(rearranged(field, inputs.shape[1:]), kernel, stride, output.shape[1:])


def _pooling(name: str, args: Sequence[Any], field: ReceptiveField, output: Tensor) -> ReceptiveField:
    shape = output.shape[-3:]
    if name in _ADAPTIVE:  # cells that may overlap by a row
        sides = list(zip(field.grid, shape[1:], strict=True))
        kernel = [-(-before // after) for before, after in sides]
        return windowed(field, kernel, [max(before // after, 1) for before, after in sides], shape)
    kernel = list(pair(args[1]))
    stride = pair(args[2]) if len(args) > 2 and args[2] else kernel
    return windowed(field, kernel, stride, shape)


def _attention(field: ReceptiveField, tokens: int, values: int) -> ReceptiveField:
    """Every token sees all, or those of its window."""
    positions = field.grid[0] * field.grid[1]
    everywhere = tokens >= positions
    field = replace(field, channels=values // (tokens if everywhere else positions))
    return field if field.extent == "global" else replace(field, extent="global" if everywhere else "unknown")


def _product(field: ReceptiveField, summed: int, channels: int) -> ReceptiveField:
    """A product with weights: of the channels at each position, of a whole flattened map, or of all positions."""
    positions = field.grid[0] * field.grid[1]
    if summed == field.channels or positions == 1:
        return replace(field, channels=channels)
    if summed == field.channels * positions:
        return of_all_positions(field, channels)
    # Its sum runs over the positions, as in a mixer; but what is known of a field's channels may be lost in windows.
    return replace(field, extent="global") if field.extent == "pixels" else replace(field, channels=channels)


def _every_other(args: Sequence[Any], field: ReceptiveField, output: Tensor) -> ReceptiveField:
    """A slice with a step in space keeps every n-th position."""
    dimension, step = (args[1] if len(args) > 1 else 0), (args[4] if len(args) > 4 else 1)
    if step > 1 and output.ndim == 4 and dimension in (2, 3) and output.shape[1] == field.channels:
        stride = (step, 1) if dimension == 2 else (1, step)
        return windowed(field, (1, 1), stride, output.shape[1:])
    if output.ndim == 4 and dimension == 1:  # a part of the channels
        return rearranged(field, (output.shape[1], *field.grid))
    return field
