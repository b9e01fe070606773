"""The page of task=demo."""

from collections.abc import Mapping
from dataclasses import dataclass

from transferkit.demo.answer import Answer
from transferkit.report.render import render


@dataclass(frozen=True)
class Tried:
    """The text on the page about the model.

    Attributes:
        title: Its network and data set.
        facts: Name to text.
        judged: Whether it tells known images from others.
        calibrated: Whether its probabilities are calibrated.
        notes: What is left out, and why.
    """

    title: str
    facts: Mapping[str, str]
    judged: bool
    calibrated: bool
    notes: tuple[str, ...] = ()


def demo_page(model: Tried, answer: Answer | None = None, error: str = "") -> str:
    """Return the page: the form, and what is shown of a picture or why it cannot be read."""
    return render("demo.html.j2", {"model": model, "answer": answer, "error": error}, package="demo")
