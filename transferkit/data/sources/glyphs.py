"""Rendered letters: a generated source set, gray images of letters of many scripts in many fonts and distortions.

No digits (see `glyph_outlines`). A letter's outline is warped as a field of signed distances and only then inked, so
that stroke width, softness and a low-resolution scan cost one threshold each, for thousands of images at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from transferkit.data.imagedata import RawData
from transferkit.data.sources.generated import generated_splits, seeded
from transferkit.data.sources.glyph_outlines import BOX, CANVAS, Outlines, letter_name, load_outlines

SCANS = (8, 8, 8, 12, 16)
"""Sides of the low-resolution scans; three in five images that are scanned have 8 x 8 pixels."""
SCANNED = 0.6
"""Fraction of the images that are scanned."""

_CHUNK = 1000  # images generated together; the random numbers depend on it


def load(cfg: Mapping[str, Any], seed: int) -> RawData:
    """Generate the data set: `images` for training, and a tenth of that each for val and test.

    Args:
        cfg: `images`, `classes` (letters), `size` (side in pixels), `elastic` (typical shift of a point by the elastic
            distortion, in half sides of the image) and `seed`, which alone determines the images.
        seed: Of the run; not used here.

    Raises:
        TransferkitError: A value that cannot be used.
    """
    outlines = load_outlines(cfg["classes"])
    splits = generated_splits(
        cfg, lambda labels, seed: draw_glyphs(outlines, labels, cfg["size"], cfg["elastic"], seed), _CHUNK
    )
    return RawData(
        [letter_name(letter) for letter in outlines.letters], splits, f"generated with dataset.seed={cfg['seed']}"
    )


def draw_glyphs(
    outlines: Outlines, labels: NDArray[np.int64], size: int, elastic: float, seed: int
) -> NDArray[np.uint8]:
    """One distorted image for each label, in a random style of that letter.

    Args:
        outlines: The letters.
        labels: (N,) classes.
        size: Side of the images, in pixels.
        elastic: Typical elastic shift, in half sides.
        seed: Of all random numbers.

    Returns:
        (N, size, size).
    """
    random = _Random(len(labels), seeded(seed))
    starts = np.cumsum(outlines.counts) - outlines.counts
    style = (random.uniform(0, 1).numpy() * outlines.counts[labels]).astype(np.int64)
    distances = torch.from_numpy(outlines.distances[starts[labels] + style]).float()[:, None]
    ink = _ink(F.grid_sample(distances, _warp(random, size, elastic), "bilinear", "border", False), random)
    images = _tones(_scan(ink, random), random)
    pixels: NDArray[np.uint8] = images[:, 0].mul(255).round().clamp(0, 255).byte().numpy()
    return pixels


@dataclass(frozen=True)
class _Random:
    """Random numbers for `n` images."""

    n: int
    generator: torch.Generator

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(self.n, *shape, generator=self.generator)

    def field(self, channels: int, knots: int, size: int) -> Tensor:
        """Smooth fields (N, channels, size, size) of unit normal numbers at knots x knots points, bicubic between."""
        knotted = torch.randn(self.n, channels, knots, knots, generator=self.generator)
        return F.interpolate(knotted, size=(size, size), mode="bicubic", align_corners=True)


def _column(values: Tensor) -> Tensor:
    return values[:, None, None, None]


def _warp(random: _Random, size: int, elastic: float) -> Tensor:
    """Source position of each pixel (N, size, size, 2): an affine map and an elastic distortion."""
    fill = random.uniform(0.8, 1.1) * BOX / CANVAS
    aspect, shear, angle = random.uniform(-0.35, 0.35).exp(), random.uniform(-0.35, 0.35), random.uniform(-0.3, 0.3)
    width, height = fill * (1 / aspect).clamp(min=1), fill * aspect.clamp(min=1)
    cos, sin = angle.cos(), angle.sin()
    x = torch.stack([width * cos + height * shear * sin, -width * sin + height * shear * cos], dim=1)
    y = torch.stack([height * sin, height * cos], dim=1)
    affine = torch.cat([torch.stack([x, y], dim=1), random.uniform(-0.06, 0.06, 2)[:, :, None]], dim=2)
    grid = F.affine_grid(affine, [random.n, 1, size, size], align_corners=False)
    slow = random.field(2, 4, size) * _column(random.uniform(0, elastic))
    fast = random.field(2, 7, size) * _column(random.uniform(0, 0.35 * elastic))
    return grid + (slow + fast).permute(0, 2, 3, 1)


def _ink(distances: Tensor, random: _Random) -> Tensor:
    """Coverage in [0, 1] from distances to the edge, with thinner or thicker, sharper or softer, uneven strokes."""
    thicker = _column(random.uniform(-0.8, 2.0)) + 0.4 * random.field(1, 3, distances.shape[-1])
    softness = _column(random.uniform(0.17, 0.6))
    return torch.sigmoid((distances + thicker) / softness)


def _scan(ink: Tensor, random: _Random) -> Tensor:
    """Average some images over few large pixels and enlarge them again."""
    scan = (random.uniform(0, len(SCANS) / SCANNED)).long()
    size = ink.shape[-2:]
    for number, side in enumerate(SCANS):
        chosen = scan == number
        if side < size[0] and bool(chosen.any()):
            small = F.adaptive_avg_pool2d(ink[chosen], side)
            ink[chosen] = F.interpolate(small, size=size, mode="bilinear", align_corners=False)
    return ink


def _tones(ink: Tensor, random: _Random) -> Tensor:
    """Gray values in about [0, 1]: contrast, paper, noise, and half of the images dark on light."""
    paper = _column(random.uniform(0, 0.3) * (random.uniform(0, 1) < 0.3))
    image = paper + (_column(random.uniform(0.6, 1)) - paper) * ink
    level = _column(random.uniform(0, 0.06) * (random.uniform(0, 1) < 0.5))
    image = image + level * torch.randn(image.shape, generator=random.generator)
    return torch.where(_column(random.uniform(0, 1) < 0.5), 1 - image, image)
