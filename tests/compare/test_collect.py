import json
import shutil
from pathlib import Path

import pytest

from tests.compare.conftest import WriteRun
from transferkit.compare.collect import FinishedRun, find_runs, flatten, read_run, read_split
from transferkit.errors import TransferkitError


def test_runs_of_every_layout_are_found_once(write_run: WriteRun, tmp_path: Path) -> None:
    for folder in ("runs/toys/resnet18/probe/now", "multirun/now/0_toys", "own"):
        write_run(folder)
    finished, unfinished = find_runs([tmp_path, tmp_path / "multirun"])
    assert [run.folder.name for run in finished] == ["0_toys", "own", "now"]
    assert not unfinished


def test_a_run_directory_itself_can_be_named(write_run: WriteRun) -> None:
    finished, _ = find_runs([write_run("alone")])
    assert [run.folder.name for run in finished] == ["alone"]


def test_what_did_not_finish_is_listed_with_its_reason(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("good")
    write_run("failed", status="failed", reason="no such weights\nsecond line")
    write_run("running", status="running")
    (write_run("damaged") / "metrics.json").write_text("{")
    (write_run("old") / "metrics.json").write_text('{"strategy": "linear_probe"}')
    (write_run("without_status") / "status.json").unlink()
    finished, unfinished = find_runs([tmp_path])
    told = {run.folder.name: f"{run.status}: {run.reason}" for run in unfinished}
    assert [run.folder.name for run in finished] == ["good"]
    assert told["failed"] == "failed: no such weights"
    assert told["running"] == "running: still running, or killed"
    assert "damaged" in told["damaged"]
    assert "lacks test, val, backbone" in told["old"]
    assert "status.json" in told["without_status"]


def test_a_finished_run_that_was_started_again_and_failed_does_not_count(write_run: WriteRun) -> None:
    run = write_run("again")
    (run / "status.json").write_text(json.dumps({"status": "failed", "reason": "disk full", "time": 1}))
    assert not isinstance(read_run(run), FinishedRun)


@pytest.mark.parametrize("task", ["evaluate", "compare", "pretrain"])
def test_runs_of_other_tasks_are_passed_over(write_run: WriteRun, task: str) -> None:
    assert read_run(write_run("other", task__name=task)) is None


def test_without_hydras_files_the_artifact_tells_the_settings(write_run: WriteRun) -> None:
    folder = write_run("bare", seed=3)
    shutil.rmtree(folder / ".hydra")
    (folder / "model.json").write_text(json.dumps({"dataset": {"per_class": 5}, "strategy": {"name": "x"}, "seed": 3}))
    run = read_run(folder)
    assert isinstance(run, FinishedRun)
    assert run.settings == {"dataset.per_class": 5, "strategy.name": "x", "seed": 3}


def test_messages_say_what_to_do(write_run: WriteRun, tmp_path: Path) -> None:
    with pytest.raises(TransferkitError, match="there is no such folder"):
        find_runs([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(TransferkitError, match="no run of task=fit below it"):
        find_runs([tmp_path / "empty"])
    write_run("only/bad", status="failed", reason="disk full")
    with pytest.raises(TransferkitError, match=r"none of 1 runs below it is done.*bad, is failed: disk full"):
        find_runs([tmp_path / "only"])


def test_flatten_keeps_lists_and_empty_mappings() -> None:
    assert flatten({"a": {"b": {"c": 1}, "d": [1, 2], "e": {}}, "f": None}) == {
        "a.b.c": 1,
        "a.d": [1, 2],
        "a.e": {},
        "f": None,
    }


def write_split(path: Path, root: str, test: list[str], labelled: int = 3) -> Path:
    rows = [f"{root}/train/{i}.jpg,dog,train" for i in range(labelled)] + [f"{root}/{name},dog,test" for name in test]
    path.write_bytes("\r\n".join(["path,label,split", *rows, ""]).encode())
    return path


def test_the_test_images_are_recognised_below_another_folder_and_in_another_order(tmp_path: Path) -> None:
    here, labelled = read_split(write_split(tmp_path / "1.csv", "/home/a/photos", ["x/1.jpg", "y/2.jpg"]))
    there, _ = read_split(write_split(tmp_path / "2.csv", "/mnt/photos", ["y/2.jpg", "x/1.jpg"], labelled=9))
    other, _ = read_split(write_split(tmp_path / "3.csv", "/home/a/photos", ["x/1.jpg", "y/3.jpg"]))
    assert here == there != other
    assert labelled == 3
    assert read_split(tmp_path / "none.csv") == (None, None)
