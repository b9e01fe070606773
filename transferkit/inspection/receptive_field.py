"""Receptive fields: the part of the image that one value of a tensor depends on, followed from layer to layer.

Araujo, Norris & Sim 2019, Computing receptive fields of convolutional neural networks (Distill), section 2: a window of
size k and stride s on a tensor of field r and step j gives field r + (k - 1) j and step j s.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

Pair = tuple[int, int]


@dataclass(frozen=True)
class ReceptiveField:
    """The receptive field of a tensor, which may exceed the image: padding counts.

    Attributes:
        size: Height and width in pixels of the image.
        step: Pixels between the fields of neighbouring values: the stride.
        grid: Rows and columns of the tensor.
        channels: Channels of the tensor.
        extent: "pixels" where `size` holds; "global" once attention or a product over all positions was applied;
            "unknown" after attention within windows.
    """

    size: Pair
    step: Pair
    grid: Pair
    channels: int
    extent: Literal["pixels", "global", "unknown"] = "pixels"

    @property
    def text(self) -> str:
        """In pixels: "7", "1x7", "global", or a dash where it is not followed."""
        if self.extent != "pixels":
            return "global" if self.extent == "global" else "–"
        return _sides(self.size)

    @property
    def step_text(self) -> str:
        """In pixels; empty for a single position."""
        return "" if self.grid == (1, 1) else _sides(self.step)


def of_image(channels: int, size: Pair) -> ReceptiveField:
    """Of an image itself: each value is one pixel."""
    return ReceptiveField((1, 1), (1, 1), size, channels)


def windowed(
    field: ReceptiveField, kernel: Sequence[int], stride: Sequence[int], shape: Sequence[int]
) -> ReceptiveField:
    """After a window, such as a convolution's, that moves over the tensor.

    Args:
        field: Of its input.
        kernel: Height and width of the window (with dilation: of all that it spans).
        stride: Steps of the window, in positions.
        shape: (C, H, W) of its output.
    """
    height, width = (r + (k - 1) * j for r, k, j in zip(field.size, kernel, field.step, strict=True))
    down, across = (j * s for j, s in zip(field.step, stride, strict=True))
    return replace(field, size=(height, width), step=(down, across), grid=(shape[1], shape[2]), channels=shape[0])


def of_all_positions(field: ReceptiveField, channels: int) -> ReceptiveField:
    """After a sum over all positions, as in global pooling or a linear layer on a flattened map."""
    return windowed(field, field.grid, field.grid, (channels, 1, 1))


def merged(fields: Sequence[ReceptiveField]) -> ReceptiveField:
    """Of the sum or concatenation of several tensors: the largest of each side.

    A gate for every channel (squeeze and excitation), which has seen all positions, counts only for itself.
    """
    most = max(field.grid[0] * field.grid[1] for field in fields)
    fields = [field for field in fields if field.grid[0] * field.grid[1] == most]
    extents = {field.extent for field in fields}
    return replace(
        fields[0],
        size=(max(field.size[0] for field in fields), max(field.size[1] for field in fields)),
        step=(max(field.step[0] for field in fields), max(field.step[1] for field in fields)),
        extent="global" if "global" in extents else "unknown" if "unknown" in extents else "pixels",
    )


def rearranged(field: ReceptiveField, shape: Sequence[int]) -> ReceptiveField:
    """Of the same values in another shape (C, H, W): padded or cut, or blocks of pixels moved into channels."""
    grid = (shape[1], shape[2])
    if field.grid == grid:
        return replace(field, channels=shape[0])
    factor = field.grid[0] // grid[0] if grid[0] else 1
    blocks = shape[0] == field.channels * factor**2 and (grid[0] * factor, grid[1] * factor) == field.grid
    if blocks and factor > 1:
        return windowed(field, (factor, factor), (factor, factor), shape)
    return replace(field, grid=grid, channels=shape[0])


def _sides(pair: Pair) -> str:
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]}x{pair[1]}"
