"""Accuracy and speed of exported files on a test split, each image decoded once for all of them."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from transferkit.data.imageset import ImageSet
from transferkit.data.preprocess import Preprocessing
from transferkit.export.agreement import Predict
from transferkit.progress import map_threads, progress
from transferkit.targets.target import LabelRows, Metrics, Target

BATCH = 32


@dataclass(frozen=True)
class Measured:
    """Accuracy and speed of a file on the test split.

    Attributes:
        metrics: As the target returns them.
        images_per_second: Of the network alone, on this machine's CPU.
    """

    metrics: Metrics
    images_per_second: float


def measure(
    predictors: Mapping[str, Predict], images: ImageSet, labels: LabelRows, target: Target, preprocess: Preprocessing
) -> dict[str, Measured]:
    """Predict the test images with every file.

    Args:
        predictors: Name to predictions.
        images: N of them.
        labels: Of the images, as the target has them.
        target: The model's.
        preprocess: The model's.
    """
    found: dict[str, list[npt.NDArray[np.float32]]] = {name: [] for name in predictors}
    seconds = dict.fromkeys(predictors, 0.0)
    with progress("Measuring exported files", len(images)) as advance:
        for start in range(0, len(images), BATCH):
            places = range(start, min(start + BATCH, len(images)))
            inputs = torch.stack(list(map_threads(lambda place: preprocess(images.image(place)), places, None)))
            for name, predict in predictors.items():
                begun = time.perf_counter()
                found[name].append(predict(inputs))
                seconds[name] += time.perf_counter() - begun
            advance(len(places))
    return {
        name: Measured(target.metrics(np.concatenate(parts), labels), len(images) / seconds[name])
        for name, parts in found.items()
    }
