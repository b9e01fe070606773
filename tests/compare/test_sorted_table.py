"""The table of the page is sorted by a click on a column's name."""

from pathlib import Path

import pytest

from tests.browser import CHROMIUM, browser
from tests.compare.conftest import MakeRun
from transferkit.compare.compare_page import write_page
from transferkit.compare.comparison import compare

CLICK = """(() => {
  const table = document.querySelector("table[data-sortable]");
  const seen = () => [...table.tBodies[0].rows].map((row) => row.cells[0].textContent.trim());
  const found = [];
  for (const column of [3, 3, 7, 0]) {
    table.tHead.rows[0].cells[column].querySelector("button").click();
    found.push(seen().join(" "));
  }
  return found;
})()"""


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian's package chromium)")
def test_a_click_sorts_by_numbers_and_by_names(make_run: MakeRun, tmp_path: Path) -> None:
    runs = [
        make_run(name, top1=top1, seconds=seconds, val=val)
        for name, top1, seconds, val in (("b", 0.9, 100.0, 0.5), ("c", 0.75, 9.0, 0.9), ("a", 1.0, 4000.0, 0.7))
    ]
    write_page(tmp_path / "page/report.html", compare(runs, []), "runs")
    with browser(tmp_path / "profile") as tab:
        tab.look(tmp_path / "page/report.html")
        assert tab.value(CLICK) == ["a b c", "c b a", "a b c", "a b c"]
        assert tab.errors() == []
        tab.look(tmp_path / "page/report.html", width=390)  # where each row stands by itself
        cut = "[...document.querySelectorAll('.scroll')].filter((one) => one.scrollWidth > one.clientWidth).length"
        assert tab.value(cut) == 0
        label = "getComputedStyle(document.querySelector('table.folded td'), '::before').content"
        assert tab.value(label) == '"Images per class"'
