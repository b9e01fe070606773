import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.report.conftest import MakeResult, predictions
from tests.report.html_page import Page
from transferkit.data.imageset import ImageSet
from transferkit.report.examples import worst_mistakes
from transferkit.report.gallery import run_gallery, varied_mistakes
from transferkit.report.predict_page import Predicted, predict_gallery, render_predictions
from transferkit.report.run_page import render_report
from transferkit.targets.class_target import Prediction


def test_mistakes_are_the_most_confident_and_of_many_pairs() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 20, 2000)
    test = ImageSet.from_arrays(np.zeros((2000, 4, 4), dtype=np.uint8), labels)
    probabilities = predictions(labels, 20)
    chosen = varied_mistakes(test, probabilities, 36)
    assert len(set(chosen)) == 36
    assert set(worst_mistakes(test, probabilities, 24)) <= set(chosen)
    confidence = probabilities[chosen].max(axis=1)
    assert (np.diff(confidence) <= 0).all()

    def pairs(rows: np.ndarray) -> int:
        return len({(labels[i], probabilities[i].argmax()) for i in rows})

    assert pairs(chosen) >= pairs(worst_mistakes(test, probabilities, 24)) + 12
    assert sorted(varied_mistakes(test, probabilities, 5000)) == sorted(worst_mistakes(test, probabilities, 5000))


def test_filters_are_those_that_tell_the_cards_apart(make_result: MakeResult) -> None:
    shown = run_gallery(make_result(["ant", "bee", "cat"]))
    assert shown.filters["result"] == ("Prediction", ["right", "wrong"])
    assert shown.filters["true"][1] == ["ant", "bee", "cat"]
    assert "known" not in shown.filters
    for card in shown.cards:
        assert card.result == ("right" if card.example.true == card.example.predicted else "wrong")


@pytest.mark.slow
def test_a_page_of_100_000_images_and_200_classes_stays_under_10_mb(make_result: MakeResult) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 200, 100_000)
    noise = ImageSet.from_arrays(rng.integers(0, 256, (8, 300, 300, 3), dtype=np.uint8), np.zeros(8, dtype=int))
    test = noise.subset(np.arange(100_000) % 8).relabel(labels)
    probabilities = np.full((100_000, 200), 1e-4, dtype=np.float32)
    right = rng.random(100_000) < 0.7
    predicted = np.where(right, labels, rng.integers(0, 200, 100_000))
    probabilities[np.arange(100_000), predicted] = rng.uniform(0.2, 0.9, 100_000)
    html = render_report(
        make_result([f"class {i}, a synonym" for i in range(200)], test=test, probabilities=probabilities)
    )
    assert 1_000_000 < len(html.encode()) < 10_000_000


@pytest.fixture
def rows(tmp_path: Path) -> list[tuple[str, Prediction]]:
    rng = np.random.default_rng(0)
    found = []
    for i in range(120):
        path = tmp_path / f"<{i}>.png"
        Image.fromarray(rng.integers(0, 256, (40, 50), dtype=np.uint8)).save(path)
        sure = float(rng.uniform(0.5, 1))
        label, known = ("ant", i % 3 > 0) if i % 2 else ("bee", True)
        found.append((str(path), Prediction(label, sure, np.array([sure, 1 - sure], np.float32), known, 0.9 - i / 200)))
    return found


def test_predictions_show_the_unlike_first_then_the_unsure(rows: list[tuple[str, Prediction]]) -> None:
    shown = predict_gallery(rows)
    assert len(shown.cards) == len({card.index for card in shown.cards}) == 20 + 30 + 30
    unlike = [i for i, (_, prediction) in enumerate(rows) if not prediction.known]
    assert [card.index for card in shown.cards[:20]] == unlike  # the first is the farthest
    rest = sorted((prediction.confidence, i) for i, (_, prediction) in enumerate(rows) if i not in unlike)
    assert [card.index for card in shown.cards[20:50]] == [i for _, i in rest[:30]]
    assert {card.example.predicted for card in shown.cards[50:54]} == {"ant", "bee"}
    assert shown.filters["known"][1] == ["no", "yes"]


def test_the_page_of_predictions(rows: list[tuple[str, Prediction]]) -> None:
    html = render_predictions(Predicted(rows, "runs/a b", "command", unreadable=2))
    page = Page(html)
    assert "100 of 120 are like the training images." in page.text
    assert "2 files could not be read" in page.text
    assert [row[:2] for row in page.tables["Predicted classes"][1:]] == [["ant", "60"], ["bee", "60"]]
    assert sum(int(row[1]) for row in page.tables["Confidence"][1:]) == 120
    assert "'run=runs/a b'" in page.text
    assert not re.search(r"<\d+>", html)
    assert "<1>.png" in page.text
