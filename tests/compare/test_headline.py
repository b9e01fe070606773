"""The finding in one line: the best group, and the cheaper one that cannot be told from it."""

import pytest

from tests.compare.conftest import MakeRun
from transferkit.compare.compare_page import render_page
from transferkit.compare.comparison import as_json, compare, screen
from transferkit.compare.headline import headline


def right(correct: int, n: int = 200) -> list[bool]:
    return [i < correct for i in range(n)]


@pytest.mark.parametrize(
    ("correct", "seconds", "told"),
    [
        (191, 5.0, "; probe is within its error at a twentieth of the cost"),
        (191, 50.0, "; probe is within its error at half of the cost"),
        (191, 90.0, "; 1 cannot be told apart from it, none much cheaper"),
        (120, 5.0, "; every other one is worse"),
    ],
)
def test_the_best_and_what_is_as_good_for_less(make_run: MakeRun, correct: int, seconds: float, told: str) -> None:
    runs = [make_run("many", right=right(192), seconds=100.0), make_run("probe", right=right(correct), seconds=seconds)]
    comparison = compare(runs, [])
    said = headline(comparison.parts[0].contests[0])
    assert said == f"many on resnet18 with 3 images per class: 96.0 %, best of 2{told}"
    assert said in screen(comparison)
    page = render_page(comparison, "runs")
    assert f"<h1>{said}</h1>" in page
    assert page.count(said) == 1
    assert as_json(comparison)["test_sets"][0]["finding"] == [said]


def test_the_cost_is_that_without_a_cache(make_run: MakeRun) -> None:
    runs = [
        make_run("many", right=right(192), seconds=10.0, uncached=40.0),
        make_run("probe", right=right(191), seconds=1.0, uncached=4.0),
    ]
    assert headline(compare(runs, []).parts[0].contests[0]).endswith("at a tenth of the cost")


def test_one_group_has_no_finding(make_run: MakeRun) -> None:
    assert headline(compare([make_run()], []).parts[0].contests[0]) == ""
