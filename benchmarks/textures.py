"""Colour textures as a folder of PNG files: a set that is neither writing nor fractals, made from a seed alone.

    python -m benchmarks.textures FOLDER

A class is a random field with a spectrum of its own: some bands of frequency and direction, what is done to the sum
(nothing, folded, or cut off), and two colours. Its images differ in phase, and a little in direction, scale, colour and
light, with noise on top. Writes FOLDER/train and FOLDER/test, one folder per class.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transferkit.arrays import Doubles

CLASSES, SIZE = 20, 32
COUNTS = {"train": 200, "test": 30}
"""Images of each class."""


@dataclass(frozen=True)
class Texture:
    """The parameters that the images of a class share.

    Attributes:
        bands: (B, 2) frequency in cycles per image, direction in radians.
        shape: What is done to the sum: 0 nothing, 1 folded, 2 cut off.
        colours: (2, 3) middle and range, in [0, 1].
    """

    bands: Doubles
    shape: int
    colours: Doubles


def draw_classes(rng: np.random.Generator) -> list[Texture]:
    """The classes; colours come from a palette of six, so that they alone do not tell."""
    palette = rng.uniform([[0.3] * 3, [-0.3] * 3], [[0.7] * 3, [0.3] * 3], (6, 2, 3))
    classes = []
    for number in range(CLASSES):
        bands = np.stack([rng.uniform(2, 11, 3), rng.uniform(0, np.pi, 3)], axis=1)[: 1 + number % 3]
        classes.append(Texture(bands, int(rng.integers(3)), palette[rng.integers(6)]))
    return classes


def draw_image(texture: Texture, rng: np.random.Generator) -> NDArray[np.uint8]:
    """One image (32, 32, 3)."""
    rows, columns = np.meshgrid(np.fft.fftfreq(SIZE) * SIZE, np.fft.fftfreq(SIZE) * SIZE, indexing="ij")
    radius, angle = np.hypot(rows, columns), np.arctan2(rows, columns)
    turn, scale = rng.normal(0, 0.2), np.exp(rng.normal(0, 0.15))
    power = np.zeros((SIZE, SIZE))
    for frequency, direction in texture.bands:
        apart = np.cos(2 * (angle - direction - turn)) - 1
        power += np.exp(-(((radius - frequency * scale) / 1.5) ** 2) + 3 * apart)
    noise = np.fft.fft2(rng.normal(size=(SIZE, SIZE)))
    field = np.fft.ifft2(noise * np.sqrt(power)).real
    field /= field.std()
    field = (field, np.abs(field) - 0.8, np.sign(field))[texture.shape]
    middle, reach = texture.colours + rng.normal(0, 0.06, (2, 3))
    light = np.exp(rng.normal(0, 0.2))
    pixels = light * (middle + reach * field[..., None]) + rng.normal(0, 0.08, (SIZE, SIZE, 3))
    image: NDArray[np.uint8] = (255 * pixels.clip(0, 1)).round().astype(np.uint8)
    return image


def write_textures(folder: Path, seed: int = 0) -> Path:
    """Write the set; returns the folder."""
    rng = np.random.default_rng(seed)
    classes = draw_classes(rng)
    for split, count in COUNTS.items():
        for number, texture in enumerate(classes):
            place = folder / split / f"texture_{number:02d}"
            place.mkdir(parents=True, exist_ok=True)
            for image in range(count):
                Image.fromarray(draw_image(texture, rng)).save(place / f"{image:03d}.png")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    write_textures(parser.parse_args().folder)


if __name__ == "__main__":
    main()
