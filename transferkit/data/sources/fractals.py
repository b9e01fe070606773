"""Formula-driven images as in FractalDB: each class is an iterated function system, each image a variation of it.

Kataoka et al. 2020, Pre-training without Natural Images, section 3: a system is some affine maps, chosen in proportion
to their determinants; it becomes a class if its fractal fills enough of the image; its images differ by one coefficient
scaled by 0.8 to 1.2, by mirroring, and by a random 3 x 3 patch drawn at every point. Coefficients uniform in [-1, 1],
as there, give mostly shapeless clouds at 32 pixels, so the maps are drawn by their singular values: Anderson & Farrell
2022, Improving Fractal Pre-training, section 3. The points come from many short orbits instead of a single long one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.data.imagedata import RawData
from transferkit.data.sources.generated import generated_splits, mixed
from transferkit.errors import TransferkitError

Floats = NDArray[np.float32]

WEIGHTS = (0.8, 0.9, 1.1, 1.2)
"""Factors for one of the six coefficients, in all maps of the system."""

VARIANTS = [(None, 1.0), *((k, weight) for k in range(6) for weight in WEIGHTS)]
"""The 25 variations of a system: (coefficient, weight)."""

_MOST_MAPS = 4
_ORBITS, _BURN_IN, _STEPS = 64, 20, 60
_BOUND = 50.0  # an orbit that leaves this radius escapes
_MOST_TRIES = 50  # rounds, each of about as many systems as classes are required
_CHUNK = 500  # images generated together; the random numbers depend on it


@dataclass(frozen=True)
class Systems:
    """Iterated function systems.

    Attributes:
        maps: (K, 4, 6) coefficients a, b, c, d, e, f of x, y -> ax + by + e, cx + dy + f.
        chances: (K, 4) probability of each map, 0 for those beyond the system's own.
    """

    maps: Floats
    chances: Floats

    def __len__(self) -> int:
        return len(self.maps)

    def pick(self, rows: NDArray[Any]) -> "Systems":
        """The systems at these positions."""
        return Systems(self.maps[rows], self.chances[rows])

    def vary(self, variants: NDArray[np.int64]) -> "Systems":
        """Each system in the variation of that number."""
        factors = np.ones((len(VARIANTS), 6), np.float32)
        for row, (coefficient, weight) in enumerate(VARIANTS):
            if coefficient is not None:
                factors[row, coefficient] = weight
        return Systems(self.maps * factors[variants][:, None], self.chances)


def load(cfg: Mapping[str, Any], seed: int) -> RawData:
    """Generate the data set: `images` for training, and a tenth of that each for val and test.

    Args:
        cfg: `images`, `classes`, `size` (side in pixels), `filling` (minimum fraction of the pixels that a class's
            fractal covers) and `seed`, which alone determines the images.
        seed: Of the run; not used here.

    Raises:
        TransferkitError: A value that cannot be used.
    """
    systems = search_systems(cfg["classes"], cfg["size"], cfg["filling"], cfg["seed"])
    splits = generated_splits(cfg, lambda labels, seed: draw_fractals(systems.pick(labels), cfg["size"], seed), _CHUNK)
    return RawData(
        [f"fractal {k:04d}" for k in range(len(systems))], splits, f"generated with dataset.seed={cfg['seed']}"
    )


@lru_cache(maxsize=4)
def search_systems(classes: int, size: int, filling: float, seed: int) -> Systems:
    """Random systems whose fractals fill the image, and whose variations all stay bounded.

    Raises:
        TransferkitError: They are too rare.
    """
    rng = np.random.default_rng([seed, 99])
    found: list[Systems] = []
    for _ in range(_MOST_TRIES):
        systems = _random_systems(10 * classes, rng)
        points, bounded = orbits(systems, rng)
        kept = np.flatnonzero(bounded)
        touched = count_points(points[kept], size) > 0
        kept = kept[touched.mean(axis=(1, 2)) >= filling]
        for row in kept:
            variations = systems.pick(np.full(len(VARIANTS), row)).vary(np.arange(len(VARIANTS)))
            if orbits(variations, rng)[1].all():
                found.append(systems.pick(np.array([row])))
            if len(found) == classes:
                return Systems(np.concatenate([s.maps for s in found]), np.concatenate([s.chances for s in found]))
    raise TransferkitError(
        f"dataset.filling={filling}: only {len(found)} systems with fractals that fill so much of {size} x {size} "
        f"pixels were found; lower dataset.filling, or dataset.classes={classes}."
    )


def draw_fractals(systems: Systems, size: int, seed: int) -> NDArray[np.uint8]:
    """One image (N, size, size) of each of N systems, in a random variation; light on black."""
    rng = np.random.default_rng(seed)
    varied = systems.vary(rng.integers(len(VARIANTS), size=len(systems)))
    points, _ = orbits(varied, np.random.default_rng(mixed(seed, 1)))
    images = _patched(count_points(points, size), rng.random((len(systems), 3, 3)) < 0.5)
    mirrored = rng.random((2, len(systems))) < 0.5
    images[mirrored[0]] = images[mirrored[0], ::-1]
    images[mirrored[1]] = images[mirrored[1], :, ::-1]
    return images


def orbits(systems: Systems, rng: np.random.Generator) -> tuple[Floats, NDArray[np.bool_]]:
    """Points (N, P, 2) of each attractor, and (N,) whether every orbit stayed bounded."""
    rows = np.arange(len(systems))[:, None]
    limits = systems.chances.cumsum(axis=1)[:, None, :-1]
    points = np.zeros((len(systems), _ORBITS, 2), np.float32)
    kept = []
    bounded = np.ones(len(systems), bool)
    for step in range(_BURN_IN + _STEPS):
        chosen = (rng.random((len(systems), _ORBITS, 1), dtype=np.float32) > limits).sum(axis=2)
        a, b, c, d, e, f = np.moveaxis(systems.maps[rows, chosen], -1, 0)
        x, y = points[..., 0], points[..., 1]
        points = np.stack([a * x + b * y + e, c * x + d * y + f], axis=2)
        bounded &= np.abs(points).max(axis=(1, 2)) < _BOUND
        points = points.clip(-_BOUND, _BOUND)
        if step >= _BURN_IN:
            kept.append(points)
    return np.concatenate(kept, axis=1), bounded


def count_points(points: Floats, size: int) -> NDArray[np.int64]:
    """How many points (N, P, 2) fall on each pixel (N, size, size), each image stretched to its points' bounds."""
    low, high = points.min(axis=1, keepdims=True), points.max(axis=1, keepdims=True)
    pixels = ((points - low) / np.maximum(high - low, 1e-6) * (size - 1)).round().astype(np.int64)
    flat = (np.arange(len(points))[:, None] * size + pixels[..., 1]) * size + pixels[..., 0]
    return np.bincount(flat.ravel(), minlength=len(points) * size * size).reshape(-1, size, size)


def _random_systems(count: int, rng: np.random.Generator) -> Systems:
    """About a tenth of `count` systems of 2 to 4 contracting maps."""
    numbers = rng.integers(2, _MOST_MAPS + 1, count)
    used = np.arange(_MOST_MAPS) < numbers[:, None]
    stretch = np.sort(rng.random((count, _MOST_MAPS, 2)), axis=2)[..., ::-1]
    # The sum that Anderson & Farrell call alpha: below their range fractals are sparse, above it they are clouds.
    alpha = ((stretch[..., 0] + 2 * stretch[..., 1]) * used).sum(axis=1)
    kept = (alpha > (5 + numbers) / 2) & (alpha < (6 + numbers) / 2)
    used, stretch = used[kept], stretch[kept]
    turns = [_rotations(rng.uniform(0, 2 * np.pi, used.shape)) for _ in range(2)]
    signs = rng.choice([-1.0, 1.0], (*used.shape, 1, 2))
    linear = turns[0] * stretch[..., None, :] @ turns[1] * signs
    shift = rng.uniform(-1, 1, (*used.shape, 2))
    determinants = (np.abs(np.linalg.det(linear)) + 1e-6) * used
    maps = np.concatenate([linear.reshape(*used.shape, 4), shift], axis=2)
    chances = determinants / determinants.sum(axis=1, keepdims=True)
    return Systems(maps.astype(np.float32), chances.astype(np.float32))


def _rotations(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Matrices (..., 2, 2)."""
    cos, sin = np.cos(angles), np.sin(angles)
    return np.stack([np.stack([cos, -sin], axis=-1), np.stack([sin, cos], axis=-1)], axis=-2)


def _patched(counts: NDArray[np.int64], patches: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Draw each image's 3 x 3 patch at every pixel with points; where more patches meet it is lighter."""
    size = counts.shape[1]
    padded = np.pad((counts > 0).astype(np.float32), ((0, 0), (1, 1), (1, 1)))
    patches[:, 1, 1] = True
    drawn = sum(
        padded[:, row : row + size, column : column + size] * patches[:, row, column, None, None]
        for row in range(3)
        for column in range(3)
    )
    light = np.asarray(drawn) / patches.sum(axis=(1, 2))[:, None, None]
    pixels: NDArray[np.uint8] = (255 * np.sqrt(light)).round().astype(np.uint8)
    return pixels
