"""Probabilities in a line of JSON: the largest ones of each row, rounded, compressed."""

import base64
import zlib

import numpy as np

from transferkit.arrays import Probabilities

KEPT = 10
"""Of each row, so many of the largest are stored."""

STEPS = 1000
"""Probabilities are multiples of one over this; smaller ones come back as half a step."""


def pack(probabilities: Probabilities) -> str:
    """Return text for probabilities (N, K)."""
    classes = probabilities.shape[1]
    steps = np.round(probabilities * STEPS).astype("<u2")
    if classes > KEPT:
        smaller = np.argpartition(probabilities, classes - KEPT, axis=1)[:, : classes - KEPT]
        np.put_along_axis(steps, smaller, 0, axis=1)
    return base64.b85encode(zlib.compress(steps.tobytes(), 9)).decode("ascii")


def unpack(text: str, classes: int) -> Probabilities:
    """Return the probabilities (N, K), each row with the sum 1."""
    steps = np.frombuffer(zlib.decompress(base64.b85decode(text)), dtype="<u2").reshape(-1, classes)
    found = np.maximum(steps / STEPS, 0.5 / STEPS)
    return np.asarray(found / found.sum(axis=1, keepdims=True), dtype=np.float32)
