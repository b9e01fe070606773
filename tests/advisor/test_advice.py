"""The advice as a whole, its text and its page."""

import json
from typing import Any

import pytest

import transferkit as tk
from tests.advisor.conftest import embedded
from tests.conftest import compose_settings
from tests.report.html_page import Page
from transferkit.advisor.advice import Advice, advise, known_strategies, to_json
from transferkit.advisor.advice_page import render_advice
from transferkit.advisor.quadrant import TABLE
from transferkit.advisor.text import advice_text, quadrant_lines
from transferkit.backbones.backbone import Backbone
from transferkit.data.imagedata import ImageData
from transferkit.features.from_settings import make_extractor


@pytest.fixture(scope="module")
def similar(letters_network: Backbone, digits: ImageData) -> Advice:
    return advise(letters_network, digits, compose_settings(), make_extractor(compose_settings()), 1000)


@pytest.fixture(scope="module")
def different(digits: ImageData) -> Advice:
    return advise(embedded("resnet_fractals"), digits, compose_settings(), make_extractor(compose_settings()), 1000)


def test_digits_are_similar_to_letters_and_different_from_fractals(similar: Advice, different: Advice) -> None:
    assert (similar.verdict.size, similar.verdict.similarity) == ("small", "similar")
    assert (different.verdict.size, different.verdict.similarity) == ("small", "different")
    assert similar.verdict.recommended == "linear_probe"
    assert different.verdict.recommended != "linear_probe"
    assert similar.measured.scores["logme"] > different.measured.scores["logme"]


def test_a_network_without_batch_norm_and_one_with_random_weights(digits: ImageData) -> None:
    glyphs = tk.create_backbone("narrow_vgg8", weights=None, source="embedded", input_size=32)
    advice = advise(glyphs, digits, compose_settings(), make_extractor(compose_settings()), 1000)
    assert advice.distance is None
    assert advice.verdict.similarity == "different"
    assert "None" not in advice_text(advice, "title")
    assert render_advice(content(advice), "note")


def content(advice: Advice) -> dict[str, Any]:
    about = {"dataset": "d", "backbone": "b", "weights": "w", "command": "c", "seconds": {"total": 1.0}}
    return {**about, **to_json(advice)}


def test_costs_cover_every_strategy(similar: Advice) -> None:
    assert set(similar.costs) == set(known_strategies())
    assert similar.costs["linear_probe"] < similar.costs["finetune_few"] < similar.costs["from_scratch"]


def test_no_test_image_is_looked_at(letters_network: Backbone, digits: ImageData) -> None:
    seen: list[str] = []
    extract = make_extractor(compose_settings())

    def watched(backbone, images, stages, pool="avg"):
        seen.extend(images.names)
        return extract(backbone, images, stages, pool)

    advise(letters_network, digits, compose_settings(), watched, 1000)
    assert not set(seen) & set(digits.test.names)


def test_it_is_plain_json(similar: Advice) -> None:
    loaded = json.loads(json.dumps(to_json(similar), allow_nan=False))
    assert loaded["quadrant"]["recommended"] == similar.verdict.recommended
    assert loaded["stages"]["stage5"]["val_top1"] == similar.evidence.top


def test_the_text_says_where_and_why(different: Advice) -> None:
    text = advice_text(different, "digits through fractals")
    assert "[stage_probe]" in text
    assert all(reason in text for reason in different.verdict.reasons)
    assert all(name in text for name in different.costs)
    assert "cross-validated" in text
    assert max(map(len, quadrant_lines("small", "similar"))) <= 80


def test_one_corner_is_marked() -> None:
    for size, similarity in TABLE:
        marked = [line for line in quadrant_lines(size, similarity) if "[" in line]
        assert len(marked) == 1
        assert f"[{TABLE[size, similarity]}]" in marked[0]


def test_the_page_shows_the_networks_that_were_compared(different: Advice) -> None:
    row: dict[str, Any] = {"low": 0.7, "high": 0.9, "features": "top", "neighbors_top1": 0.7, "behind": 0.05}
    row |= {"load_seconds": 0.5, "parameters": 5_000_000, "memory_bytes": 2e7, "behind_error": 0.02}
    first = {**row, "network": "one", "top1": 0.85, "seconds": 2.0, "imagenet_top1": 0.8}
    second = {**row, "network": "two", "top1": 0.8, "seconds": 300.0, "imagenet_top1": None}
    networks: dict[str, Any] = {"networks": [first, second], "left_out": {"three": "no weights"}, "used": "one"}
    networks |= {"notes": ["Used: one."], "images": 100}
    networks |= {"selection": {"by": "cv", "images": 100, "folds": 5, "repeats": 2}}
    page = Page(render_advice({**content(different), "networks": networks}, "note"))
    rows = page.tables["Networks"]
    assert [line[0] for line in rows[-2:]] == ["one", "two"]
    assert "5.0 ± 2.0" in rows[-1]
    assert all(text in page.text for text in ("Left out: three: no weights", "Used: one.", "2 times with 5 folds"))


def test_the_page_is_whole_and_loads_nothing(different: Advice) -> None:
    html = render_advice(content(different), "note")
    assert "http" not in html.replace("http-equiv", "").replace("http://www.w3.org", "")
    page = Page(html)
    assert [row[0] for row in page.tables["Strategies"][1:]][:7] == list(different.verdict.contenders)
    assert all(reason in page.text for reason in different.verdict.reasons)
    assert all(name in page.text for name in (*TABLE.values(), "LogME"))
