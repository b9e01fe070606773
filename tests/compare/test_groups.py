import numpy as np
import pytest

from tests.compare.conftest import MakeRun
from transferkit.compare.groups import Group, by_images, make_groups, pareto_front, spread
from transferkit.compare.testsets import part_by_test_set


def groups_of(runs) -> list[Group]:
    (part,) = part_by_test_set(runs)
    return make_groups(part)


def test_mean_and_spread_over_seeds_are_numpys(make_run: MakeRun) -> None:
    values = [0.91, 0.94, 0.86, 0.9]
    (group,) = groups_of([make_run(seed=i, top1=v, seconds=10 + i, val=v - 0.1) for i, v in enumerate(values)])
    assert group.seeds == [0, 1, 2, 3]
    assert group.top1.mean == pytest.approx(np.mean(values))
    assert group.top1.deviation == pytest.approx(np.std(values, ddof=1))
    assert (group.top1.low, group.top1.high) == (0.86, 0.94)
    assert group.balanced.mean == pytest.approx(np.mean(values) - 0.1)
    assert group.val_top1 == pytest.approx(np.mean(values) - 0.1)
    assert group.seconds == pytest.approx(11.5)


def test_two_values_have_a_range_but_no_deviation() -> None:
    assert spread([0.5, 0.7]).deviation is None
    assert (spread([0.5, 0.7]).low, spread([0.5, 0.7]).high) == (0.5, 0.7)


def test_of_equal_seeds_the_newest_counts(make_run: MakeRun) -> None:
    runs = [make_run(top1=0.5, time=2), make_run(top1=0.9, time=3), make_run(top1=0.1, time=1), make_run(seed=1)]
    (group,) = groups_of(runs)
    assert [run.metrics["test"]["top1"] for run in group.runs] == [0.9, 0.9]
    assert (group.seeds, group.repeated) == ([0, 1], 2)


def test_settings_part_runs_and_val_orders_them(make_run: MakeRun) -> None:
    runs = [
        make_run("probe", top1=0.99, val=0.5),
        make_run("tune", strategy__lr=1, top1=0.6, val=0.8),
        make_run("tune", strategy__lr=2, top1=0.7, val=0.7),
    ]
    assert [group.label for group in groups_of(runs)] == ["tune (strategy.lr=1)", "tune (strategy.lr=2)", "probe"]


def test_images_per_class_are_counted_in_the_split(make_run: MakeRun) -> None:
    runs = [make_run(labelled=n, dataset__per_class=per_class) for n, per_class in ((4, 2), (20, None), (10, 5))]
    groups = groups_of(runs)
    assert [group.per_class for group in groups] == [10, 5, 2]
    assert {group.label for group in groups} == {"linear_probe"}
    assert list(by_images(groups)) == [10, 5, 2]


def test_the_pareto_front_is_what_no_other_beats(make_run: MakeRun) -> None:
    rng = np.random.default_rng(0)
    points = [(float(s), float(a)) for s, a in zip(rng.integers(1, 9, 30), rng.integers(1, 9, 30) / 10, strict=True)]
    runs = [make_run(f"s{i}", seconds=s, top1=a) for i, (s, a) in enumerate(points)]
    beaten = {point for point in points for s, a in points if s <= point[0] and a >= point[1] and (s, a) != point}
    front = [(group.seconds, group.top1.mean) for group in pareto_front(groups_of(runs))]
    assert front == sorted(set(points) - beaten)
