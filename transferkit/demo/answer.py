"""Everything that is shown of one picture: prediction, heat map, nearest training images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from transferkit.data.imageset import ImageSet
from transferkit.demo.training_images import TrainingImages
from transferkit.models.ensemble import EnsembleModel
from transferkit.models.transfer_model import TransferModel
from transferkit.report.examples import thumbnail
from transferkit.report.facts import percent
from transferkit.report.gallery import CARD_SIDE
from transferkit.report.heat_maps import heat_map_method, heat_maps, heat_text, why_not
from transferkit.report.nearest import Near
from transferkit.report.parts_by_target import TABLES

CLASSES_SHOWN = 10


@dataclass(frozen=True)
class Answer:
    """The answer for a picture, as it is shown.

    Attributes:
        name: Of its file.
        picture: A `data:` URI of the thumbnail.
        tiny: Whether it is enlarged with visible pixels.
        brief: The prediction in a few words.
        label: The most likely class; empty where the target is no class.
        rows: (name, value, share of a bar) of classes or labels, the likeliest first, or of the numbers predicted.
        more: Classes that are not among the rows.
        known: Whether the picture is like the training images; None where that is not judged.
        heat: A `data:` URI of the picture with its heat map, or None.
        heat_text: What is bright in it, or why there is none.
        near: The nearest training images.
        no_near: Why there are none.
    """

    name: str
    picture: str | None
    tiny: bool
    brief: str
    label: str
    rows: Sequence[tuple[str, str, float]]
    more: int
    known: bool | None
    heat: str | None
    heat_text: str
    near: Sequence[Near]
    no_near: str


def answer(
    model: TransferModel | EnsembleModel, image: Image.Image, name: str, training: TrainingImages | str
) -> Answer:
    """Predict one picture and explain the prediction.

    Args:
        model: Of a run, or an ensemble, whose predictions have no heat map and no nearest images.
        image: RGB.
        name: Of its file.
        training: The images of the fit, or why they are not there.
    """
    (prediction,) = model.predict([image], names=[name])
    one = ImageSet.from_arrays(np.asarray(image)[None], [0], [name])
    rows = value_rows(model, prediction)
    heat, told = _heat(model, one, prediction)
    near: Sequence[Near] = ()
    if isinstance(training, TrainingImages) and isinstance(model, TransferModel):
        near = training.nearest(model, model.preprocess(image)[None])
    return Answer(
        name,
        *thumbnail(one, 0, CARD_SIDE),
        _brief(model, prediction),
        getattr(prediction, "label", ""),
        rows[:CLASSES_SHOWN],
        len(rows[CLASSES_SHOWN:]),
        prediction.known,
        heat,
        told,
        near,
        training if isinstance(training, str) else "",
    )


def _brief(model: TransferModel | EnsembleModel, prediction: Any) -> str:
    """The prediction in a few words."""
    if model.target.exclusive:
        return f"{prediction.label}, {percent(prediction.confidence)}"
    return TABLES[model.target.kind].brief(prediction).strip()


def value_rows(model: TransferModel | EnsembleModel, prediction: Any) -> list[tuple[str, str, float]]:
    """Return name, value as text and share of a bar of every class or label, the likeliest first; or of the numbers."""
    if hasattr(prediction, "values"):
        return [(name, f"{value:.4g}", 0.0) for name, value in prediction.values.items()]
    probabilities = prediction.probabilities
    order = np.argsort(-probabilities, kind="stable")
    return [(model.target.names[i], percent(float(probabilities[i])), float(probabilities[i])) for i in order]


def _heat(model: TransferModel | EnsembleModel, one: ImageSet, prediction: Any) -> tuple[str | None, str]:
    """The heat map of the only image of a set, and what is bright in it; or None, and why."""
    if not isinstance(model, TransferModel):
        return None, "No heat map: the model is an ensemble of several networks."
    if not model.target.exclusive:
        return None, f"No heat map: the model predicts {model.target.words()}, not a class."
    reason = why_not(model)
    if reason is not None:
        return None, reason
    found = dict(heat_maps(model, one, [0]))
    if 0 not in found:
        return None, f"No heat map: {model.backbone.spec.name} does not attend from every place to every other."
    method = heat_map_method(model)
    return found[0], f"bright: {heat_text(method, prediction.label)} ({method})"
