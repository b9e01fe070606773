"""The demo in headless Chromium: a picture that is dropped is answered, on a page that loads nothing else."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import CHROMIUM, Tab, browser
from tests.report.test_pages_in_browser import AXE, SERIOUS
from transferkit.demo.server import DemoServer

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian's package chromium)")


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.parametrize("dark", [False, True])
def test_a_picture_is_answered_when_it_is_chosen(tab: Tab, server: DemoServer, picture: Path, dark: bool) -> None:
    tab.look(server.address, width=390, dark=dark)
    tab.choose("input[type=file]", picture)
    tab.wait()
    assert tab.value("document.querySelector('h1').textContent").startswith("3, ")
    assert tab.value("document.querySelectorAll('#near ~ .tiles img').length") == 5
    assert tab.value("document.documentElement.scrollWidth") == 390
    assert tab.errors() == []
    assert {address for address in tab.requested() if not address.endswith("/favicon.ico")} == set()
    if AXE.is_file():
        tab.value(AXE.read_text(encoding="utf-8") + "; 0")
        assert tab.value(SERIOUS) == []
