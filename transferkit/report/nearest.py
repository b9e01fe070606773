"""Test images with their nearest training images, for the report."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from transferkit.arrays import Probabilities
from transferkit.data.imagedata import ImageData
from transferkit.data.imageset import ImageSet
from transferkit.features.extract import join_stages
from transferkit.features.from_settings import Extract
from transferkit.models.transfer_model import TransferModel
from transferkit.probes.neighbors import NeighborHead, nearest, prepare_rows
from transferkit.report.examples import Example, examples, right_examples, thumbnail, worst_mistakes
from transferkit.report.run_result import Neighbor, Neighborhood, RunResult

MISTAKES_SHOWN, RIGHT_SHOWN, NEIGHBORS_SHOWN = 6, 6, 5
EXPLAINED, EXPLAINED_BY = 12, 3
"""Mistakes of a model without a gallery that are shown with so many of their nearest training images."""


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
    model: TransferModel,
    data: ImageData,
    probabilities: Probabilities,
    extract: Extract,
    compared: ImageSet | None = None,
) -> list[Neighborhood]:
    """Find the neighbours of the most confident mistakes on test, and of some correct predictions.

    Args:
        model: With a gallery of train and val, in this order, or with distances of known images; others give an empty
            list.
        data: The data it was fitted on.
        probabilities: (N, K), of the test images.
        extract: Computes the features.
        compared: The images that the rows of `model.known` are of; without them its neighbours are not searched.
    """
    head, test, voting = model.head, data.test, isinstance(model.head, NeighborHead)
    wrong = worst_mistakes(test, probabilities, MISTAKES_SHOWN if voting else EXPLAINED)
    indices = np.concatenate([wrong, right_examples(test, probabilities, RIGHT_SHOWN)]) if voting else wrong
    if isinstance(head, NeighborHead):
        queries = _features(model, test.subset(indices), model.stages, extract)
        distances, rows = head.search(queries, min(NEIGHBORS_SHOWN, len(head.gallery)))
        images = data.train.joined(data.val)
    elif model.known is not None and compared is not None and len(indices):
        queries = prepare_rows(_features(model, test.subset(indices), model.stages[-1:], extract), "cosine")
        distances, rows = nearest(queries, model.known.rows, min(EXPLAINED_BY, len(compared)))
        distances, images = distances.square() / 2, compared
    else:
        return []
    return [
        Neighborhood(int(index), [Neighbor(images, row, far) for row, far in zip(*pair, strict=True)])
        for index, *pair in zip(indices, rows.tolist(), distances.tolist(), strict=True)
    ]


def _features(model: TransferModel, images: ImageSet, stages: list[str], extract: Extract) -> torch.Tensor:
    """Return the features (N, D) of these stages, in memory."""
    return torch.from_numpy(np.array(join_stages(extract(model.backbone, images, stages, model.pool), stages)))


def show_neighborhoods(result: RunResult) -> list[tuple[Example, list[Near]]]:
    """Return every test image shown, with its neighbours, nearest first."""
    indices = np.array([hood.index for hood in result.neighborhoods], dtype=np.int64)
    tests = examples(result.test, result.probabilities, result.class_names, indices)
    return [
        (example, [_near(neighbor, example.true, result.class_names) for neighbor in hood.neighbors])
        for example, hood in zip(tests, result.neighborhoods, strict=True)
    ]


def _near(neighbor: Neighbor, true: str, class_names: Sequence[str]) -> Near:
    label = class_names[neighbor.images.labels[neighbor.index]]
    return Near(label, label == true, neighbor.distance, *thumbnail(neighbor.images, neighbor.index))
