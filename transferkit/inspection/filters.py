"""A picture of the filters of a network's first convolution."""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image
from torch import Tensor, nn

from transferkit.backbones.backbone import Backbone
from transferkit.report.examples import data_uri

MOST = 256


@dataclass(frozen=True)
class Filters:
    """Filters of one layer.

    Attributes:
        layer: Its path in the network.
        shown: Number of filters in the picture.
        count: Number of filters of the layer.
        kernel: Height and width.
        picture: A `data:` URI.
    """

    layer: str
    shown: int
    count: int
    kernel: tuple[int, int]
    picture: str


def first_filters(backbone: Backbone) -> Filters | None:
    """The filters of the first convolution; None if the first layer with parameters is none on three channels."""
    for part in backbone.stages.values():
        for name, module in part.named_modules():
            if isinstance(module, nn.Conv2d) and module.in_channels == 3 and module.groups == 1:
                weight = module.weight.detach().float().cpu()
                shown = min(len(weight), MOST)
                kernel = (weight.shape[2], weight.shape[3])
                return Filters(name, shown, len(weight), kernel, data_uri(mosaic(weight[:shown]), "PNG", optimize=True))
    return None


def mosaic(weight: Tensor) -> Image.Image:
    """Filters (F, 3, h, w) side by side with a transparent gap; each spans the whole range of brightness.

    Gray is the middle between its smallest and largest weight.
    """
    count, _, height, width = weight.shape
    columns = math.ceil(math.sqrt(2 * count))
    rows = -(-count // columns)
    gap = max(1, width // 6)
    pixels = np.zeros((rows * (height + gap) - gap, columns * (width + gap) - gap, 4), np.uint8)
    low, high = weight.amin(dim=(1, 2, 3), keepdim=True), weight.amax(dim=(1, 2, 3), keepdim=True)
    scaled = ((weight - low) / (high - low).clamp(min=1e-12) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    for i, tile in enumerate(scaled):
        top, left = (i // columns) * (height + gap), (i % columns) * (width + gap)
        pixels[top : top + height, left : left + width, :3] = tile
        pixels[top : top + height, left : left + width, 3] = 255
    return Image.fromarray(pixels)
