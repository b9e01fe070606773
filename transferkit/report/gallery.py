"""The gallery of a page: a bounded number of images with their prediction, to be filtered, and opened one by one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from transferkit.arrays import Probabilities
from transferkit.data.imageset import ImageSet
from transferkit.report.examples import Example, examples, right_examples, worst_mistakes
from transferkit.report.heat_maps import heat_text
from transferkit.report.nearest import Near, show_neighborhoods
from transferkit.report.run_result import RunResult

Rows = npt.NDArray[np.int64]

MISTAKES_SHOWN, RIGHT_SHOWN = 36, 24
CARD_SIDE = 256
"""Pixels of a picture, which a click enlarges. An image of noise takes 75 kB of the page, a photograph about 20 kB."""


@dataclass(frozen=True)
class Card:
    """An image of the gallery.

    Attributes:
        index: Of the image in its set.
        example: Its picture and prediction; `true` is empty where the class is not known.
        known: Whether it is like the training images; None where that was not judged.
        near: The nearest training images, if they were searched for.
        heat: A `data:` URI of the image with a heat map over it, if one was computed.
        heat_text: What it shows.
    """

    index: int
    example: Example
    known: bool | None = None
    near: Sequence[Near] = ()
    heat: str | None = None
    heat_text: str = ""

    @property
    def result(self) -> str:
        """`right`, `wrong`, or nothing where the class is not known."""
        if not self.example.true:
            return ""
        return "right" if self.example.true == self.example.predicted else "wrong"

    @property
    def description(self) -> str:
        """The text in place of the picture."""
        told = f"{self.example.name}: " + (f"a {self.example.true}, " if self.example.true else "")
        return f"{told}predicted {self.example.predicted}"


@dataclass(frozen=True)
class Gallery:
    """Cards, and what they can be filtered by.

    Attributes:
        cards: In order.
        filters: Name of a `data-` attribute of a card to its title and the values that occur.
    """

    cards: Sequence[Card]
    filters: Mapping[str, tuple[str, Sequence[str]]] = field(default_factory=dict)


def gallery(cards: Sequence[Card]) -> Gallery:
    """Return the cards with the filters that tell them apart."""
    columns = {
        "result": ("Prediction", [card.result for card in cards]),
        "true": ("True class", [card.example.true for card in cards]),
        "predicted": ("Predicted class", [card.example.predicted for card in cards]),
        "known": (
            "Like the training images",
            [("yes" if card.known else "no") for card in cards if card.known is not None],
        ),
    }
    found = {name: (title, sorted(set(values) - {""})) for name, (title, values) in columns.items()}
    return Gallery(cards, {name: (title, values) for name, (title, values) in found.items() if len(values) > 1})


def run_gallery(result: RunResult) -> Gallery:
    """Return mistakes, and correctly classified images, of the test split."""
    test, probabilities, names = result.test, result.probabilities, result.class_names
    indices = shown_indices(test, probabilities)
    near: dict[int, Sequence[Near]] = {}
    if "k" not in result.metrics:  # a nearest-neighbour model has a section with its own
        near = {
            hood.index: found for hood, (_, found) in zip(result.neighborhoods, show_neighborhoods(result), strict=True)
        }
    shown = examples(test, probabilities, names, indices, CARD_SIDE)
    return gallery(
        [
            Card(
                index,
                example,
                near=near.get(index, ()),
                heat=result.heat_maps.get(index),
                heat_text=heat_text(result.heat_map_method, example.predicted),
            )
            for index, example in zip(indices.tolist(), shown, strict=True)
        ]
    )


def shown_indices(test: ImageSet, probabilities: Probabilities) -> Rows:
    """Return the images of the gallery: mistakes, then correctly classified images of every class."""
    return np.concatenate([varied_mistakes(test, probabilities), right_examples(test, probabilities, RIGHT_SHOWN)])


def varied_mistakes(test: ImageSet, probabilities: Probabilities, limit: int = MISTAKES_SHOWN) -> Rows:
    """Return up to `limit` misclassified images, the most confident first.

    Two thirds are the most confident of all; the rest are the most confident of other pairs of classes, so that many
    pairs can be looked at.
    """
    wrong = worst_mistakes(test, probabilities, len(test))
    pairs = list(zip(test.labels[wrong].tolist(), probabilities[wrong].argmax(axis=1).tolist(), strict=True))
    kept = 2 * limit // 3
    seen = set(pairs[:kept])
    first, later = list(range(min(kept, len(wrong)))), []
    for place in range(len(first), len(wrong)):
        if pairs[place] in seen:
            later.append(place)
        else:
            seen.add(pairs[place])
            first.append(place)
    return wrong[np.sort(np.array([*first, *later][:limit], dtype=np.int64))]
