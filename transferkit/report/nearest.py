"""Test images with their nearest training images, for the report of a nearest-neighbour model."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from transferkit.arrays import Probabilities
from transferkit.data.imagedata import ImageData
from transferkit.features.extract import join_stages
from transferkit.features.from_settings import Extract
from transferkit.models.transfer_model import TransferModel
from transferkit.probes.neighbors import NeighborHead
from transferkit.report.examples import Example, examples, right_examples, thumbnail, worst_mistakes
from transferkit.report.run_result import Neighbor, Neighborhood, RunResult

MISTAKES_SHOWN, RIGHT_SHOWN, NEIGHBORS_SHOWN = 6, 6, 5


@dataclass(frozen=True)
class Near:
    """A training image near a test image.

    Attributes:
        label: Name of its class.
        same: Whether that is the class of the test image.
        distance: In the metric of the model.
        picture: A `data:` URI of the thumbnail, or None if the image cannot be read.
        tiny: Whether it is enlarged with visible pixels.
    """

    label: str
    same: bool
    distance: float
    picture: str | None
    tiny: bool


def find_neighborhoods(
    model: TransferModel, data: ImageData, probabilities: Probabilities, extract: Extract
) -> list[Neighborhood]:
    """Find the neighbours of the most confident mistakes on test, and of some correct predictions.

    Args:
        model: With a gallery of train and val, in this order; other models give an empty list.
        data: The data it was fitted on.
        probabilities: (N, K), of the test images.
        extract: Computes the features.
    """
    head, test = model.head, data.test
    if not isinstance(head, NeighborHead):
        return []
    shown = worst_mistakes(test, probabilities, MISTAKES_SHOWN), right_examples(test, probabilities, RIGHT_SHOWN)
    indices = np.concatenate(shown)
    features = extract(model.backbone, test.subset(indices), model.stages, model.pool)
    queries = torch.from_numpy(join_stages(features, model.stages))
    distances, rows = head.search(queries, min(NEIGHBORS_SHOWN, len(head.gallery)))
    return [
        Neighborhood(int(index), [_neighbor(data, row, far) for row, far in zip(*pair, strict=True)])
        for index, *pair in zip(indices, rows.tolist(), distances.tolist(), strict=True)
    ]


def show_neighborhoods(result: RunResult) -> list[tuple[Example, list[Near]]]:
    """Return every test image shown, with its neighbours, nearest first."""
    indices = np.array([hood.index for hood in result.neighborhoods], dtype=np.int64)
    tests = examples(result.test, result.probabilities, result.class_names, indices)
    return [
        (example, [_near(neighbor, example.true, result.class_names) for neighbor in hood.neighbors])
        for example, hood in zip(tests, result.neighborhoods, strict=True)
    ]


def _neighbor(data: ImageData, row: int, distance: float) -> Neighbor:
    """The image of a gallery row."""
    inside = row < len(data.train)
    return Neighbor(data.train if inside else data.val, row if inside else row - len(data.train), distance)


def _near(neighbor: Neighbor, true: str, class_names: Sequence[str]) -> Near:
    label = class_names[neighbor.images.labels[neighbor.index]]
    return Near(label, label == true, neighbor.distance, *thumbnail(neighbor.images, neighbor.index))
