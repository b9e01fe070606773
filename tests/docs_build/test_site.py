"""The site builds without a warning, and its pages load nothing from elsewhere and fit a desk and a phone."""

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import CHROMIUM, Tab, browser
from tests.conftest import REPOSITORY

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("material") is None, reason="needs pip install 'transferkit[docs]'"),
]

CUT_OFF = """
[...document.querySelectorAll(".md-content *")].filter(one => {
  const box = one.getBoundingClientRect();
  if (!box.width || box.right <= innerWidth + 1) return false;
  for (let up = one.parentElement; up !== document.body; up = up.parentElement)
    if (/auto|scroll/.test(getComputedStyle(up).overflowX)) return false;
  return true;
}).map(one => one.tagName + ": " + one.textContent.slice(0, 60))
"""
"""Elements beyond the window's right edge, and in no box that scrolls."""

SCROLLING = """
[...document.querySelectorAll("pre > code, .md-typeset__scrollwrap")]
  .filter(one => one.scrollWidth > one.clientWidth + 1).map(one => one.textContent.slice(0, 60))
"""
"""Code and tables that are wider than their box."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


LOADED = re.compile(r'<(?:script|link|img|source|iframe)[^>]*(?:src|href)="(?:https?:)?//[^"]*|url\(.?(?:https?:)?//')


def test_no_file_names_something_to_load_from_elsewhere(site: Path) -> None:
    files = [file for file in site.rglob("*") if file.suffix in (".html", ".css")]
    assert len(files) > 20
    found = {hit for file in files for hit in LOADED.findall(file.read_text(encoding="utf-8"))}
    assert found == set()


def test_nothing_is_loaded_from_elsewhere_and_nothing_is_cut_off(site: Path, tab: Tab) -> None:
    for page in sorted(site.rglob("index.html")):
        for width in (1280, 390):
            tab.look(page, width=width, dark=width == 390)
            name = f"{page.parent.name} at {width}"
            assert [one for one in tab.requested() if not one.startswith("file:")] == [], name
            assert tab.value("document.documentElement.scrollWidth") <= width, name
            assert tab.value(CUT_OFF) == [], name
            assert width == 390 or tab.value(SCROLLING) == [], name
