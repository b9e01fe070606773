"""The training images of a fitted model, found again, to show those that are nearest to a new image."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from transferkit.data.imageset import ImageSet
from transferkit.data.load_data import load_data
from transferkit.ensemble_artifact import read_notes
from transferkit.errors import TransferkitError
from transferkit.models.transfer_model import TransferModel
from transferkit.probes.neighbors import NeighborHead, nearest, prepare_rows
from transferkit.report.examples import thumbnail
from transferkit.report.nearest import Near
from transferkit.strategies.held_out import compared_images
from transferkit.untrusted import UnreadableFile, read_json

SHOWN = 5
COMPARED = 3
"""Images whose features are computed again at the start, to see that they are those of the fit."""
SAME = 0.02
"""Largest distance of the features of the same image, which may have been computed at another precision."""


@dataclass(frozen=True)
class TrainingImages:
    """The images (R) that the rows of features of a model are of, in this order."""

    images: ImageSet
    class_names: list[str]

    @torch.no_grad()
    def nearest(self, model: TransferModel, inputs: Tensor) -> list[Near]:
        """Return the images nearest to a preprocessed one (1, 3, H, W), the nearest first."""
        distances, rows = search(model, model.features(inputs), min(SHOWN, len(self.images)))
        return [
            Near(self.class_names[self.images.labels[row]], False, far, *thumbnail(self.images, row))
            for far, row in zip(distances[0].tolist(), rows[0].tolist(), strict=True)
        ]


def search(model: TransferModel, features: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return distances and rows (N, k) of the features of training images nearest to others (N, D)."""
    if isinstance(model.head, NeighborHead):
        return model.head.search(features, k)
    assert model.known is not None
    queries = prepare_rows(features[:, -model.known.rows.shape[1] :], "cosine")
    distances, rows = nearest(queries, model.known.rows, k)
    return distances.square() / 2, rows


def find_training_images(run: Path, model: TransferModel) -> TrainingImages | str:
    """Read the data set of a fit again; return the images that its features are of, or why there are none."""
    rows = kept_rows(model)
    if rows is None:
        return "The model keeps no features of training images (calibrate.known=null)."
    try:
        images = _images(read_notes(run), run, model)
        if images is None:
            return "The run directory does not say which images the model was fitted to."
        if len(images) != len(rows) or not _same(model, images, rows):
            return "The training images have changed since the fit."
    except (TransferkitError, OSError, MemoryError) as error:
        return f"The training images cannot be read: {error}"
    return TrainingImages(images, list(model.class_names))


def kept_rows(model: TransferModel) -> Tensor | None:
    """Return the features (R, D) of training images that a model keeps: to vote, or to tell known images."""
    if isinstance(model.head, NeighborHead):
        return model.head.gallery
    return None if model.known is None else model.known.rows


def _images(notes: Mapping[str, Any], run: Path, model: TransferModel) -> ImageSet | None:
    dataset, seed = notes.get("dataset"), notes.get("seed")
    if not isinstance(dataset, dict) or type(seed) is not int:
        return None
    voting = isinstance(model.head, NeighborHead)
    known = {} if voting else _known(run)
    if known is None:
        return None
    data = load_data(dataset, seed)
    if voting:
        return data.train.joined(data.val)
    fit_seed = notes.get("fit_seed", seed)
    return compared_images(data, known.get("on") == "val", fit_seed if type(fit_seed) is int else seed)


def _known(run: Path) -> dict[str, Any] | None:
    """The entry `known` of metrics.json, which says of which split the rows are."""
    try:
        found = read_json(run / "metrics.json").get("known")
    except (UnreadableFile, OSError):
        return None
    return found if isinstance(found, dict) else None


@torch.no_grad()
def _same(model: TransferModel, images: ImageSet, rows: Tensor) -> bool:
    """Whether the features of some images are the rows of the model."""
    for index in {round(i * (len(images) - 1) / (COMPARED - 1)) for i in range(COMPARED)}:
        features = model.features(model.preprocess(images.image(index))[None])[:, -rows.shape[1] :]
        one, other = (prepare_rows(vector, "cosine") for vector in (features, rows[index : index + 1]))
        if 1 - float((one * other).sum()) > SAME:
            return False
    return True
