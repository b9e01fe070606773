import dataclasses
import json
from pathlib import Path

from tests.compare.conftest import MakeRun
from transferkit.compare.collect import UnfinishedRun
from transferkit.compare.comparison import COLUMNS, as_json, compare, csv_rows, folders, screen
from transferkit.compare.groups import show_spread, spread


def test_spread_in_words() -> None:
    assert show_spread(spread([0.9])) == "90.0"
    assert show_spread(spread([0.9, 0.92])) == "91.0 (90.0 – 92.0)"
    assert show_spread(spread([0.9, 0.92, 0.94])) == "92.0 ± 2.0"


def test_the_screen_has_aligned_tables_and_tells_what_is_missing(make_run: MakeRun) -> None:
    runs = [make_run("linear_probe", seconds=2, top1=0.8), make_run("full_finetune", seconds=200, top1=0.7)]
    text = screen(compare(runs, [UnfinishedRun(Path("x/9_bad"), "failed", "disk full")]))
    lines = text.splitlines()
    header = next(line for line in lines if "strategy" in line)
    table = [line for line in lines if "resnet18" in line and "best of" not in line]
    assert "toys: 4 test images" in text
    assert {line.index("resnet18") for line in table} == {header.index("backbone")}
    assert [line.startswith("*") for line in sorted(table, key=lambda line: "full" in line)] == [True, False]
    assert "3 min 20 s" in text
    assert "9_bad: failed, disk full" in text


def test_a_group_says_in_which_runs_nothing_was_finetuned(make_run: MakeRun) -> None:
    runs = [make_run("lp_ft", seed=0), make_run("lp_ft", seed=1)]
    kept = dataclasses.replace(runs[0], metrics={**runs[0].metrics, "finetuned": False})
    text = screen(compare([kept, runs[1]], []))
    assert "lp_ft: not finetuned in 1 of 2 runs: the probe's head was kept" in text
    assert "finetuned" not in screen(compare(runs, []))


def test_different_test_sets_are_different_tables(make_run: MakeRun) -> None:
    comparison = compare([make_run("x"), make_run("y", test=("a",)), make_run("x", dataset__name="tools")], [])
    titles = [part.title for part in comparison.parts]
    assert titles == ["tools: 4 test images", "toys, test set 1: 4 test images", "toys, test set 2: 1 test images"]


def test_the_csv_has_a_row_a_group_and_a_cell_a_column(make_run: MakeRun) -> None:
    runs = [make_run("x", seed, strategy__C=C) for seed in range(3) for C in (1, 2)]
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in csv_rows(compare(runs, []))]
    assert [row["settings"] for row in rows] == ["strategy.C=1", "strategy.C=2"]
    assert rows[0]["seeds"] == 3
    assert rows[0]["test_top1"] == 0.9
    assert rows[0]["test_top1_sd"] == 0
    assert rows[0]["images_per_class"] == 3


def test_the_json_leads_back_to_the_runs(make_run: MakeRun) -> None:
    runs = [make_run("x", 0, 0.9), make_run("x", 1, 0.7), make_run("y", seconds=1)]
    content = json.loads(json.dumps(as_json(compare(runs, [])), allow_nan=False))
    (part,) = content["test_sets"]
    groups = {group["strategy"]: group for group in part["groups"]}
    assert [Path(run["folder"]) for run in groups["x"]["runs"]] == [runs[0].folder, runs[1].folder]
    assert groups["x"]["test_top1"] == {"mean": 0.8, "n": 2, "low": 0.7, "high": 0.9, "deviation": None}
    assert [part["groups"][i]["strategy"] for i in part["pareto_front"]] == ["y"]


def test_runs_may_be_one_folder_or_several() -> None:
    assert folders("a") == [Path("a")]
    assert folders(["a", "b"]) == [Path("a"), Path("b")]
