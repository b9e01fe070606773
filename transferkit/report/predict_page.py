"""The page of task=predict, `report.html`: classes, confidence and unknown images, with a gallery."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from transferkit.data.imageset import ImageSet
from transferkit.files import write_text
from transferkit.report.command_text import command_of
from transferkit.report.examples import Example, short_names, thumbnail
from transferkit.report.facts import plural
from transferkit.report.gallery import CARD_SIDE, Card, Gallery, gallery
from transferkit.report.next_steps import Step
from transferkit.report.render import render
from transferkit.targets.class_target import Prediction

UNKNOWN_SHOWN, UNSURE_SHOWN, SURE_SHOWN = 30, 30, 30
UNSURE = 0.6
"""Below this confidence a prediction is called unsure."""
CONFIDENCES = ((0.9, 1.0), (UNSURE, 0.9), (0.0, UNSURE))
CLASSES_SHOWN = 15

Rows = Sequence[tuple[str, Prediction]]


@dataclass(frozen=True)
class Predicted:
    """The content of the page.

    Attributes:
        rows: Path and prediction of each image that could be read; at least one.
        run: The run directory of the model.
        command: That repeats it.
        sets_command: That adds sets of classes, where the model has what it needs and they were not asked for.
        unreadable: Images that could not be read.
        images: Their origin as the user named it.
        seconds: That it took.
    """

    rows: Rows
    run: str
    command: str
    sets_command: str = ""
    unreadable: int = 0
    images: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class ClassCount:
    """A class, and how many images it was predicted for, with their mean confidence."""

    name: str
    images: int
    confidence: float
    unknown: int


def write_predict_page(path: Path, found: Predicted) -> None:
    """Write the page; an existing one is replaced atomically."""
    write_text(path, render_predictions(found))


def render_predictions(found: Predicted) -> str:
    """Return the page."""
    predictions = [prediction for _, prediction in found.rows]
    unknown = sum(prediction.known is False for prediction in predictions)
    shown = predict_gallery(found.rows)
    counts = class_counts(predictions)
    content = {
        "found": found,
        "n": len(predictions),
        "judged": any(prediction.known is not None for prediction in predictions),
        "unknown": unknown,
        "unsure": sum(prediction.confidence < UNSURE for prediction in predictions),
        "counts": counts,
        "classes_shown": CLASSES_SHOWN,
        "confidences": [
            (low, high, sum(low <= p.confidence < high or p.confidence == high == 1 for p in predictions))
            for low, high in CONFIDENCES
        ],
        "gallery": shown,
        "unsure_below": UNSURE,
        "next_steps": steps(found, unknown),
    }
    return render("predict.html.j2", content)


def steps(found: Predicted, unknown: int) -> list[Step]:
    """Return what to do next."""
    told = []
    if unknown:
        text = f"Look at the {plural(unknown, 'image')} unlike the training images: their class means little. "
        told.append(
            Step(f"{text}If they are of these classes, label some, add them to the training images and fit again.")
        )
    if found.sets_command:
        told.append(Step("Get several classes where one is not sure: sets that hold the true one.", found.sets_command))
    evaluate = command_of("task=evaluate", f"run={found.run}", "dataset=folder", "dataset.root=DIR")
    told.append(Step("If you know the classes: put the images into one folder per class, and measure.", evaluate))
    return told


def class_counts(predictions: Sequence[Prediction]) -> list[ClassCount]:
    """Return the predicted classes, the most frequent first."""
    by_class: dict[str, list[Prediction]] = {}
    for prediction in predictions:
        by_class.setdefault(prediction.label, []).append(prediction)
    rows = [
        ClassCount(name, len(mine), float(np.mean([p.confidence for p in mine])), sum(p.known is False for p in mine))
        for name, mine in by_class.items()
    ]
    return sorted(rows, key=lambda row: (-row.images, row.name))


def predict_gallery(rows: Rows) -> Gallery:
    """Return the images farthest from the training images, then the least sure, then sure ones of every class."""
    confidence = np.array([prediction.confidence for _, prediction in rows])
    distance = np.array([-1.0 if p.known is not False else float(p.distance or 0) for _, p in rows])
    order = np.argsort(-distance, kind="stable")
    unknown = order[distance[order] >= 0][:UNKNOWN_SHOWN].tolist()
    chosen = dict.fromkeys(unknown)
    rest = [int(i) for i in np.argsort(confidence, kind="stable") if int(i) not in chosen]
    chosen |= dict.fromkeys(rest[:UNSURE_SHOWN])
    seen: dict[str, int] = {}
    ranked = []
    for i in reversed(rest[UNSURE_SHOWN:]):
        rank = seen[rows[i][1].label] = seen.get(rows[i][1].label, 0) + 1
        ranked.append((rank, i))
    chosen |= dict.fromkeys(i for _, i in sorted(ranked)[:SURE_SHOWN])
    return gallery(_cards(rows, list(chosen)))


def _cards(rows: Rows, indices: Sequence[int]) -> list[Card]:
    images = ImageSet.from_files([rows[i][0] for i in indices], np.zeros(len(indices), dtype=np.int64))
    cards = []
    for place, (index, name) in enumerate(zip(indices, short_names(images.names), strict=True)):
        prediction = rows[index][1]
        picture, tiny = thumbnail(images, place, CARD_SIDE)
        example = Example(name, "", prediction.label, prediction.confidence, picture, tiny)
        cards.append(Card(index, example, prediction.known))
    return cards
