"""Pages in headless Chromium: no error, nothing requested, no sideways scroll, readable by a screen reader."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.browser import CHROMIUM, Tab, browser
from tests.report.conftest import made_result
from transferkit.data.imageset import ImageSet
from transferkit.report.examples import worst_mistakes
from transferkit.report.predict_page import Predicted, render_predictions
from transferkit.report.run_page import render_report
from transferkit.report.run_result import Neighbor, Neighborhood, Places
from transferkit.targets.class_target import Prediction

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian's package chromium)")

AXE = Path(os.environ.get("AXE_CORE", "node_modules/axe-core/axe.min.js"))
SERIOUS = """axe.run(document, {resultTypes: ["violations"]}).then((found) => found.violations
  .filter((one) => ["serious", "critical"].includes(one.impact))
  .map((one) => one.id + ": " + one.nodes.slice(0, 3).map((node) => node.html.slice(0, 200)).join(" | ")))"""
CUT = """[...document.querySelectorAll(".scroll")].filter((part) => part.scrollWidth > part.clientWidth + 1)
  .map((part) => part.getAttribute("aria-label"))"""


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report of few classes with all its sections, one of many, and predictions."""
    few = made_result(["ant", "bee", "a class with a rather long name"])
    images = ImageSet.from_arrays(np.zeros((3, 40, 40), dtype=np.uint8), [0, 1, 2])
    wrong = worst_mistakes(few.test, few.probabilities, 2)
    hoods = [Neighborhood(int(i), [Neighbor(images, row, 0.1) for row in range(3)]) for i in wrong]
    places = Places(np.arange(60), np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32), "t-SNE")
    history = [
        {"phase": phase, "epoch": epoch, "lr": 0.1, "train_loss": 1 / epoch, "val_loss": 1.1, "val_top1": 0.5}
        for phase in ("head", "tail")
        for epoch in (1, 2)
    ]
    few = replace(few, history=history, neighborhoods=hoods, arguments=["dataset=toys"], places=places)
    many = made_result([f"class {i}" for i in range(136)], n=400)
    folder = tmp_path_factory.mktemp("pages")
    paths = []
    for i in range(6):
        few.test.image(i).save(folder / f"{i}.png")
        paths.append(str(folder / f"{i}.png"))
    predictions = [Prediction("ant", 0.9 - i / 10, np.array([0.9], np.float32), i > 2, 0.2) for i in range(6)]
    found = {
        "few": render_report(few),
        "many": render_report(many),
        "predictions": render_predictions(Predicted(list(zip(paths, predictions, strict=True)), "run", "command")),
    }
    for name, page in found.items():
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in found}


@pytest.mark.parametrize("name", ["few", "many", "predictions"])
def test_nothing_fails_is_requested_or_cut(tab: Tab, pages: dict[str, Path], name: str) -> None:
    for width in (1280, 390):
        tab.look(pages[name], width)
        assert tab.errors() == []
        assert tab.requested() == []
        assert tab.value("document.documentElement.scrollWidth") == width
        cut = set(tab.value(CUT))
        assert cut <= ({"Confusion matrix"} if width == 390 else set())


def test_in_print_a_button_in_a_heading_stays_and_others_go(tab: Tab, pages: dict[str, Path]) -> None:
    """The headings of tables that can be sorted are buttons."""
    tab.look(pages["few"], media="print")
    tab.value("document.querySelector('thead th').innerHTML = '<button>Name</button>'; 0")
    shown = "[...document.querySelectorAll('{}')].map(one => getComputedStyle(one).display)"
    assert "none" not in tab.value(shown.format("th button"))
    others = tab.value(shown.format(":not(th) > button"))
    assert others
    assert set(others) == {"none"}


def test_print_has_what_is_folded_on_the_screen(tab: Tab, pages: dict[str, Path]) -> None:
    """All but the configuration, and what the cards of the gallery explain."""
    seen = "[...document.querySelectorAll('{}')].map(one => one.checkVisibility())"
    tables, others = (
        seen.format("details:not(.gallery *) table"),
        seen.format("details.configuration > pre, .gallery .nearest"),
    )
    for media, expected in (("", False), ("print", True)):
        tab.look(pages["many"], media=media)
        assert set(tab.value(tables)) == {expected}
        tab.look(pages["few"], media=media)
        assert set(tab.value(others)) == {False}


@pytest.mark.skipif(
    not AXE.is_file(), reason="axe-core is not installed (npm install axe-core; AXE_CORE names its file)"
)
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", ["few", "many", "predictions"])
def test_axe_finds_nothing_serious(tab: Tab, pages: dict[str, Path], name: str, dark: bool) -> None:
    tab.look(pages[name], dark=dark)
    tab.value(AXE.read_text(encoding="utf-8") + "; 0")
    assert tab.value(SERIOUS) == []


def test_the_gallery_filters(tab: Tab, pages: dict[str, Path]) -> None:
    tab.look(pages["few"])
    shown = "[...document.querySelectorAll('.gallery > li')].filter((card) => !card.hidden)"
    everything = tab.value(f"{shown}.length")
    wanted = "form.elements.true.value = 'ant'; form.elements.predicted.value = 'bee'"
    tab.value(f"form = document.querySelector('form'); {wanted}; form.dispatchEvent(new Event('input')); 0")
    pairs = tab.value(f"{shown}.map((card) => [card.dataset.true, card.dataset.predicted])")
    assert 0 < len(pairs) < everything
    assert all(pair == ["ant", "bee"] for pair in pairs)
    assert tab.value("document.querySelector('output').textContent").startswith(f"{len(pairs)} of {everything} images")
    tab.value("form.elements.least.value = 100; form.dispatchEvent(new Event('input')); 0")
    assert tab.value(f"{shown}.length") == 0


def test_enter_enlarges_an_image_and_arrows_go_on(tab: Tab, pages: dict[str, Path]) -> None:
    tab.look(pages["few"])
    tab.value("document.querySelector('.gallery .frame').focus(); 0")
    tab.key("Enter")
    assert tab.value("document.querySelector('dialog').open")
    source = "document.querySelector('dialog figure img').src"
    first = tab.value(source)
    assert first == tab.value("document.querySelector('.gallery img').src")
    assert tab.value("document.querySelectorAll('dialog .nearest img').length") == 3
    tab.key("ArrowRight")
    assert tab.value(source) == tab.value("document.querySelectorAll('.gallery > li > figure img')[1].src") != first


def test_a_point_of_the_map_opens_its_image(tab: Tab, pages: dict[str, Path]) -> None:
    tab.look(pages["few"])
    link = "document.querySelector('.map a')"
    tab.value(f"{link}.dispatchEvent(new MouseEvent('click', {{bubbles: true, cancelable: true}})); 0")
    shown = tab.value("document.querySelector('dialog figure img').src")
    assert shown == tab.value(f"document.querySelector({link}.getAttribute('href') + ' img').src")


def test_the_pointer_names_a_cell_of_a_large_confusion_matrix(tab: Tab, pages: dict[str, Path]) -> None:
    tab.look(pages["many"])
    box = tab.value(
        "(() => {const m = document.querySelector('img[data-cells]'); m.scrollIntoView(); "
        "const b = m.getBoundingClientRect(); return [b.left, b.top, b.width]})()"
    )
    cells = json.loads(tab.value("document.querySelector('img[data-cells]').dataset.cells"))
    row, column, count = cells["cells"][len(cells["cells"]) // 2]
    x, y = (box[0] + (column + 0.5) * box[2] / 136, box[1] + (row + 0.5) * box[2] / 136)
    tab.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    told = tab.value("document.querySelector('output.cell').textContent")
    assert told == f"{cells['names'][row]} → {cells['names'][column]}: {count}"


def test_a_command_is_copied_or_selected(tab: Tab, pages: dict[str, Path]) -> None:
    tab.look(pages["few"])
    tab.value("document.querySelector('button.copy').click(); 0")
    told = "new Promise((done) => setTimeout(() => done(document.querySelector('button.copy').textContent), 300))"
    assert tab.value(told) in ("Copied", "Selected")
