import csv
import io
import json

import pytest

from tests.compare.conftest import MakeRun
from transferkit.compare.collect import FinishedRun
from transferkit.compare.comparison import COLUMNS, as_json, compare, csv_rows, screen
from transferkit.compare.correct_images import read_correct
from transferkit.compare.groups import make_groups
from transferkit.compare.paired import mcnemar
from transferkit.compare.testsets import part_by_test_set
from transferkit.compare.winner import Contest, hold_contests


def hits(n: int, wrong: range) -> list[bool]:
    return [i not in wrong for i in range(n)]


def contest_of(runs: list[FinishedRun]) -> Contest:
    (part,) = part_by_test_set(runs)
    (contest,) = hold_contests(make_groups(part), part.images, 0.95)
    return contest


def test_a_winner_has_every_difference_significant(make_run: MakeRun) -> None:
    n = 200
    runs = [make_run(name, right=hits(n, range(w))) for name, w in (("good", 4), ("middle", 20), ("bad", 60))]
    contest = contest_of(runs)
    found = {group.strategy: difference for group, difference in contest.others.items()}
    assert contest.winner is not None
    assert contest.winner.strategy == "good"
    assert found["middle"] is not None
    assert (found["middle"].only_first, found["middle"].only_second) == (0, 16)
    assert found["middle"].p == mcnemar(0, 16)
    text = screen(compare(runs, []))
    assert "Winner: good; every other group is worse on the same 200 test images" in text
    assert "-8.0 (-12.0 – -4.5) worse" in text


def test_groups_that_cannot_be_told_apart_are_named(make_run: MakeRun) -> None:
    wrong = (("a", range(10)), ("b", range(5, 16)), ("c", range(60)))
    runs = [make_run(name, right=hits(200, images)) for name, images in wrong]
    assert contest_of(runs).winner is None
    comparison = compare(runs, [])
    assert "No clear winner: a, b cannot be told apart on 200 test images." in screen(comparison)
    rows = {row[3]: dict(zip(COLUMNS, row, strict=True)) for row in csv_rows(comparison)}
    assert {name: row["verdict"] for name, row in rows.items()} == {
        "a": "best",
        "b": "cannot be told apart",
        "c": "worse",
    }
    assert rows["b"]["against_best"] == pytest.approx(-1 / 200)
    assert rows["a"]["p"] == ""
    (part,) = json.loads(json.dumps(as_json(comparison)))["test_sets"]
    assert part["result"] == ["No clear winner: a, b cannot be told apart on 200 test images."]
    assert part["groups"][2]["against_best"]["p_adjusted"] < 1e-6


def test_predictions_that_do_not_fit_the_metrics_are_not_used(make_run: MakeRun) -> None:
    a, b, c = (make_run(name, right=hits(20, range(w))) for name, w in (("a", 1), ("b", 4), ("c", 15)))
    rows = list(csv.reader(io.StringIO((b.folder / "predictions.csv").read_text())))
    (b.folder / "predictions.csv").write_text("\n".join(map(",".join, rows[:-1])))
    assert read_correct(b) is None
    (c.folder / "predictions.csv").write_text("image,label\n1,2\n")
    assert read_correct(c) is None
    (c.folder / "predictions.csv").unlink()
    assert read_correct(c) is None
    said = screen(compare([a, b, c], []))
    assert (
        "No clear winner: a is the best; not compared, since predictions of the same images are missing: b, c." in said
    )


def test_runs_pair_by_seed_and_by_their_test_images(make_run: MakeRun) -> None:
    runs = [
        make_run(name, seed, right=hits(100, range(w + seed))) for name, w in (("a", 2), ("b", 9)) for seed in (0, 1)
    ]
    (difference,) = contest_of(runs).others.values()
    assert difference is not None
    assert difference.seeds == 2
    assert difference.mean == pytest.approx(-0.07)
    (only,) = contest_of([*runs[:2], runs[2]]).others.values()  # b has one seed: only that is paired
    assert only is not None
    assert (only.seeds, only.only_second) == (1, 7)


def test_the_cost_without_a_cache_decides_what_is_faster(make_run: MakeRun) -> None:
    runs = [
        make_run("first", top1=0.8, seconds=50, uncached=50.0),
        make_run("second", top1=0.7, seconds=2, uncached=52.0),  # found the features of the first
        make_run("third", top1=0.9, seconds=60),
    ]
    comparison = compare(runs, [])
    front = {group.strategy for group in comparison.parts[0].front}
    assert front == {"first", "third"}
    text = screen(comparison)
    table = [line for line in text.splitlines() if "best of" not in line]
    assert next(line for line in table if "second" in line).split()[-4:] == ["2.0", "s", "52.0", "s"]
    assert next(line for line in table if "third" in line).endswith("?")
