from pathlib import Path

from tests.compare.conftest import MakeRun
from tests.report.html_page import Page
from transferkit.compare.collect import UnfinishedRun
from transferkit.compare.compare_page import render_page
from transferkit.compare.comparison import compare


def test_the_page_shows_tables_and_loads_nothing(make_run: MakeRun) -> None:
    runs = [
        make_run(s, seed, top1=0.9 + 0.01 * seed, labelled=n, dataset__per_class=n)
        for s in "xy"
        for seed in range(3)
        for n in (4, 8)
    ]
    bad = UnfinishedRun(Path("9_bad"), "failed", "<disk> full")
    html = render_page(compare([*runs, make_run("z", test=("a",))], [bad]), "multirun")
    page = Page(html)
    first, second = page.tables["toys, test set 1: 4 test images"], page.tables["toys, test set 2: 1 test images"]
    assert len(first) == 1 + 4
    assert [cell.strip() for cell in first[1]][:4] == ["x", "4", "3", "91.0 ± 1.0"]
    assert len(second) == 1 + 1
    assert page.tables["Unfinished runs"][1] == ["9_bad", "failed", "<disk> full"]
    assert page.text.count("Learning curves") == 1
    assert "runs=multirun" in page.text
    assert not [
        value
        for name in ("src", "href")
        for tag in ("a", "img", "link", "script")
        for value in page.values(tag, name)
        if not value.startswith("#")
    ]


def test_the_command_can_be_pasted(make_run: MakeRun) -> None:
    comparison = compare([make_run()], [])
    assert "task=compare 'runs=my runs'" in Page(render_page(comparison, "my runs")).text
    assert "What to do next" in Page(render_page(comparison, "my runs")).text
    assert "task=compare 'runs=[a,b]'" in Page(render_page(comparison, ["a", "b"])).text


def test_the_page_links_each_runs_report(make_run: MakeRun, tmp_path: Path) -> None:
    runs = [make_run("x", seed) for seed in (0, 1)]
    (runs[1].folder / "report.html").touch()
    here = tmp_path / "compare"
    page = Page(render_page(compare(runs, []), "multirun", here))
    (link,) = [one for one in page.values("a", "href") if not one.startswith("#")]
    assert (here / link).resolve() == (runs[1].folder / "report.html").resolve()
