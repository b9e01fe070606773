"""Handwritten digits as PNG files with a table of several kinds of labels."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

COLUMNS = ("path", "digit", "labels", "ink", "size", "even", "round")


def write_digits(folder: Path, images: int) -> Path:
    """Write `images` digits and `table.csv`; return the table."""
    digits = load_digits()
    (folder / "images").mkdir()
    rows = []
    for i in range(images):
        name, digit = f"images/{i}.png", int(digits.target[i])
        Image.fromarray(np.rint(digits.images[i] * (255 / 16)).astype(np.uint8)).save(folder / name)
        present = {"even": digit % 2 == 0, "round": digit in (0, 6, 8, 9), "large": digit > 4}
        labels = ";".join(label for label, there in present.items() if there)
        ink = round(float(digits.images[i].sum() / 16), 3)
        size = "low" if digit < 3 else "middle" if digit < 7 else "high"
        rows.append((name, digit, labels, ink, size, int(present["even"]), int(present["round"])))
    with (folder / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    return folder / "table.csv"
