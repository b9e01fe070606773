"""task=search: trials of two strategies on digits, the best on val, going on where it stopped."""

import csv
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import QUICK, RunCommand
from transferkit.cli.search import import_optuna, open_study, retry_interrupted, suggest
from transferkit.ranking import score

pytestmark = pytest.mark.skipif(importlib.util.find_spec("optuna") is None, reason="optuna is not installed")

WHAT: dict[str, Any] = {"strategies": ["linear_probe", "finetune_few"], "seed": 0}


@pytest.mark.slow
def test_the_best_on_val_is_told_with_its_command_and_more_trials_go_on(
    transferkit: RunCommand, tmp_path: Path
) -> None:
    small = ["dataset=digits", "dataset.per_class=8", "dataset.max_test=30", "selection=val", "epochs=3", *QUICK]
    search = ["experiment=search", "task.strategies=[linear_probe,nearest_neighbor]", *small]
    done = transferkit(*search, "task.trials=1", cwd=tmp_path)  # whose strategies have no epochs
    assert done.returncode == 0, done.stdout + done.stderr
    done = transferkit(*search, "task.trials=2", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 2 trials are done" in done.stdout
    folder = tmp_path / "runs/search/digits/narrow_resnet10"
    found = json.loads((folder / "search.json").read_text())
    runs = [json.loads((folder / f"trials/{number}/metrics.json").read_text()) for number in (0, 1)]
    assert {run["strategy"] for run in runs} == {"linear_probe", "nearest_neighbor"}
    best = max(runs, key=lambda run: score(run["val"]["top1"], run["val"]["nll"], run["val"]["n"]))
    assert f"strategy={best['strategy']}" in found["best"]["command"]
    assert f"Best on val: strategy={best['strategy']}" in done.stdout
    with (folder / "search.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 2
    assert {*found["trials"][0]} == {"trial", "val_top1", "val_nll", "seconds", "settings", "folder"}  # nothing of test
    assert json.loads((folder / "trials/1/status.json").read_text())["status"] == "done"


def test_a_strategy_that_finetunes_gets_every_key_of_the_space(tmp_path: Path) -> None:
    study = open_study(import_optuna(), tmp_path / "search.journal", WHAT)
    space = {"lr": {"low": 1e-4, "high": 1e-2, "log": True}, "augment": ["none", "light"]}
    seen = [suggest(study.ask(), WHAT["strategies"], space, {"finetune_few"}) for _ in range(2)]
    assert seen[0] == ["strategy=linear_probe"]
    assert seen[1][0] == "strategy=finetune_few"
    assert 1e-4 <= float(seen[1][1].removeprefix("lr=")) <= 1e-2
    assert seen[1][2] in ("augment=none", "augment=light")


def test_a_trial_whose_process_was_killed_is_tried_again_in_its_folder(tmp_path: Path) -> None:
    optuna = import_optuna()
    study = open_study(optuna, tmp_path / "search.journal", WHAT)
    trial = study.ask()
    first = suggest(trial, WHAT["strategies"], {}, set())
    trial.set_user_attr("folder", str(tmp_path / "trials/0"))
    again = open_study(optuna, tmp_path / "search.journal", WHAT)
    retry_interrupted(again)
    asked = [again.ask() for _ in range(2)]
    kept = next(one for one in asked if "folder" in one.user_attrs)
    assert kept.user_attrs == {"retry_of": 0, "folder": str(tmp_path / "trials/0")}
    assert suggest(kept, WHAT["strategies"], {}, set()) == first


def test_another_search_in_the_same_file_is_another_study(tmp_path: Path) -> None:
    optuna = import_optuna()
    names = {open_study(optuna, tmp_path / "s.journal", {**WHAT, "seed": seed}).study_name for seed in (0, 1, 0)}
    assert len(names) == 2


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["task.space.lr.low=1"], "task.space.lr.high: 0.01 must be above low."),
        (["task.trials=0"], "task.trials=0 must be"),
        (["task.strategies=[nothing]"], "nothing"),
    ],
)
def test_a_wrong_space_is_one_message(transferkit: RunCommand, tmp_path: Path, overrides: list[str], told: str) -> None:
    done = transferkit("search", "digits", *overrides, cwd=tmp_path)
    assert done.returncode == 1
    assert told in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
