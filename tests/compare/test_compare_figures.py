from itertools import pairwise

import pytest

from tests.compare.conftest import MakeRun
from transferkit.compare.compare_figures import apart, cost_figure, learning_figure, seeds_figure
from transferkit.compare.groups import make_groups
from transferkit.compare.testsets import part_by_test_set


@pytest.mark.parametrize("wanted", [[0.5], [0.5, 0.5, 0.5], [0.0, 0.0, 1.0], [0.97, 0.98, 0.99], [0.1, 0.3, 0.9]])
def test_labels_are_apart_and_inside(wanted: list[float]) -> None:
    places = apart(wanted, 0.1)
    assert all(0 <= place <= 1 for place in places)
    assert all(b - a >= 0.1 - 1e-9 for a, b in pairwise(places))


def test_labels_with_room_stay_where_they_are() -> None:
    assert apart([0.1, 0.3, 0.9], 0.1) == [0.1, 0.3, 0.9]


def test_too_many_labels_are_spread_evenly() -> None:
    assert apart([0.5] * 5, 0.3) == [0, 0.25, 0.5, 0.75, 1]


def test_figures_name_every_group(make_run: MakeRun) -> None:
    runs = [make_run(f"s{i}", seconds=10.0**i) for i in range(4)]
    (part,) = part_by_test_set(runs)
    groups = make_groups(part)
    names = {group: f"name of {group.label}" for group in groups}
    for svg in (
        cost_figure(groups, names),
        seeds_figure(groups, names),
        learning_figure({n: [g] for g, n in names.items()}),
    ):
        assert svg.startswith("<svg")
        assert svg.rstrip().endswith("</svg>")
        assert all(name in svg for name in names.values())
