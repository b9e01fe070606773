import json
import os
import shutil
from pathlib import Path

import pytest

from tests.compare.conftest import WriteRun
from transferkit.compare.collect import FinishedRun, UnfinishedRun, find_runs, read_run, read_split
from transferkit.compare.comparison import compare, screen
from transferkit.config.flat_values import flat_values
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
    (write_run("without_metrics") / "metrics.json").unlink()
    (write_run("old") / "metrics.json").write_text('{"strategy": "linear_probe"}')
    (write_run("without_status") / "status.json").unlink()
    finished, unfinished = find_runs([tmp_path])
    told = {run.folder.name: f"{run.status}: {run.reason}" for run in unfinished}
    assert [run.folder.name for run in finished] == ["good"]
    assert told["failed"] == "failed: no such weights"
    assert told["running"] == "running: still running, or killed"
    assert told["damaged"].startswith("unreadable: ")
    assert "metrics.json is damaged" in told["damaged"]
    assert told["without_metrics"] == "unknown: metrics.json is missing"
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


def test_flat_values_keeps_lists_and_empty_mappings() -> None:
    assert flat_values({"a": {"b": {"c": 1}, "d": [1, 2], "e": {}}, "f": None}) == {
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


def test_interpolations_of_others_stay_text(write_run: WriteRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    folder = write_run("foreign")
    text = (folder / ".hydra/config.yaml").read_text()
    (folder / ".hydra/config.yaml").write_text(
        f"{text}x: ${{oc.env:SECRET_TOKEN}}\ny: ${{oc.decode:'1'}}\nz: ${{seed}}\n"
    )
    run = read_run(folder)
    assert isinstance(run, FinishedRun)
    shown = {key: run.settings[key] for key in "xyz"}
    assert shown == {"x": "${oc.env:SECRET_TOKEN}", "y": "${oc.decode:'1'}", "z": "${seed}"}


LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]\n" for i in range(12))


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        (".hydra/config.yaml", LAUGHS, "aliases"),
        (".hydra/config.yaml", "a: !!python/object/apply:os.getcwd []", "tag"),
        (".hydra/config.yaml", 3000 * "[", "nested"),
        (".hydra/config.yaml", "#" * (2 << 20), "far more"),
        (".hydra/config.yaml", "a: [", "damaged"),
        (".hydra/config.yaml", "a: .inf", "finite"),
        ("metrics.json", 100_000 * "[", "nested"),
        ("metrics.json", '{"test": NaN}', "NaN"),
        ("metrics.json", " " * (17 << 20), "far more"),
        ("metrics.json", "[]", "object"),
        ("status.json", "[]", "status.json"),
        ("status.json", 100_000 * "[", "status.json"),
    ],
)
def test_a_file_of_others_that_cannot_be_used_ends_nothing(
    write_run: WriteRun, tmp_path: Path, name: str, content: str, told: str
) -> None:
    write_run("good")
    (write_run("bad") / name).write_text(content)
    finished, unfinished = find_runs([tmp_path])
    assert [run.folder.name for run in finished] == ["good"]
    assert [run.folder.name for run in unfinished] == ["bad"]
    assert told in unfinished[0].reason
    assert "bad: " in screen(compare(finished, unfinished))


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("seed", "0", "seed"),
        ("seed", [1], "seed"),
        ("test", {"top1": "0.9", "balanced_accuracy": 0.9, "n": 4}, "test.top1"),
        ("test", {"top1": 7.0, "balanced_accuracy": 0.9, "n": 4}, "test.top1"),
        ("test", {"top1": 0.9, "n": 4}, "test.balanced_accuracy"),
        ("test", None, "test"),
        ("strategy", {"a": 1}, "strategy"),
        ("num_classes", 0, "num_classes"),
        ("seconds", {}, "seconds.total"),
    ],
)
def test_figures_that_cannot_be_end_nothing(write_run: WriteRun, key: str, value: object, told: str) -> None:
    folder = write_run("bad")
    metrics = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps({**metrics, key: value}))
    run = read_run(folder)
    assert isinstance(run, UnfinishedRun)
    assert f"metrics.json cannot be used ({told}" in run.reason


def test_names_of_others_cannot_drive_the_terminal(write_run: WriteRun) -> None:
    evil = "a\x1b[2Jb\nc"
    ok, bad = write_run("ok", strategy=evil, dataset__root=evil), write_run("bad\x1b[0m", status="failed", reason=evil)
    text = screen(compare(*find_runs([ok, bad])))
    assert "\x1b" not in text
    assert r"a\x1b[2Jb\nc" in text
    assert r"bad\x1b[0m" in text


def test_a_pipe_is_not_waited_for(write_run: WriteRun) -> None:
    folder = write_run("pipe")
    for name in ("metrics.json", "split.csv"):
        (folder / name).unlink()
        os.mkfifo(folder / name)
    assert isinstance(read_run(folder), UnfinishedRun)
