"""Loggers: the values that TensorBoard, MLflow and Weights & Biases hold afterwards are those of history.csv."""

import csv
import importlib.util
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import QUICK, RunCommand
from transferkit.errors import TransferkitError
from transferkit.training.run_logger import ID_FILE, RunLogger, run_logger

SHORT = ["strategy=finetune_few", "epochs=2", "dataset.per_class=6", "dataset.max_test=30", "selection=val", *QUICK]
ROWS: list[dict[str, float]] = [{"epoch": 1, "train_loss": 0.5, "lr_head": 0.1}, {"epoch": 2, "train_loss": 0.25}]
METRICS: dict[str, Any] = {"val": {"top1": 0.5}, "test": {"top1": 0.75, "n": 4}, "seconds": {"total": 3.0}}
SETTINGS: dict[str, Any] = {"seed": 3, "strategy": {"phases": {"tail": {"train": {"fc*": 0.1}}}}, "cache": {"dir": "x"}}


def needs(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"{package} is not installed")


def write(settings: dict[str, Any], run_dir: Path) -> None:
    """Log two epochs, one of a fold, and the result."""
    with run_logger({"logger": settings}, run_dir) as logger:
        assert logger is not None
        for row in ROWS:
            logger.log_epoch(run_dir / "checkpoints/1_tail", row)
        logger.log_epoch(run_dir / "folds/2/checkpoints/1_tail", ROWS[0])
        logger.log_result(SETTINGS, METRICS)


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """The scalars of the event files of TensorBoard, by tag."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


@needs("tensorboard")
@pytest.mark.parametrize("task", ["fit", "pretrain"])
def test_tensorboard_holds_the_history_of_a_run(task: str, transferkit: RunCommand, tmp_path: Path) -> None:
    short = (
        SHORT if task == "fit" else ["task=pretrain", "epochs=2", "dataset.per_class=6", "dataset.max_test=30", *QUICK]
    )
    done = transferkit(*short, "logger=tensorboard", "hydra.run.dir=out", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    found = scalars(tmp_path / "out/tensorboard")
    with (tmp_path / "out/history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    place = "1_tail/" if task == "fit" else ""
    for name in ("train_loss", "val_loss", "val_top1", "lr"):
        steps, values = zip(*found[f"{place}{name}"], strict=True)
        assert steps == tuple(int(row["epoch"]) for row in rows)
        np.testing.assert_allclose(values, [float(row[name]) for row in rows], rtol=1e-5)
    test = json.loads((tmp_path / "out/metrics.json").read_text())["test"]
    np.testing.assert_allclose(found["test/top1"], [(0, test["top1"])])


@needs("tensorboard")
def test_tensorboard_in_a_folder_of_ones_own(tmp_path: Path) -> None:
    write({"name": "tensorboard", "dir": str(tmp_path / "all")}, tmp_path / "run")
    found = scalars(tmp_path / "all/run")
    assert found["1_tail/train_loss"] == [(1, 0.5), (2, 0.25)]
    assert found["folds/2/1_tail/train_loss"] == [(1, 0.5)]


@needs("mlflow")
@pytest.mark.slow
def test_mlflow_holds_the_values_and_a_resumed_run_goes_on(tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    uri, run_dir = f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "run"
    run_dir.mkdir()
    for _ in range(2):
        write({"name": "mlflow", "uri": uri, "experiment": "leaves"}, run_dir)
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("leaves")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_id == json.loads((run_dir / ID_FILE).read_text())["mlflow"]
    assert (run.info.status, run.info.run_name) == ("FINISHED", "run")
    assert run.data.params["strategy.phases.tail.train.fc_"] == "0.1"
    assert not any(key.startswith("cache") for key in run.data.params)
    assert (run.data.metrics["test/top1"], run.data.metrics["val/top1"]) == (0.75, 0.5)
    values = [(one.step, one.value) for one in client.get_metric_history(run.info.run_id, "1_tail/train_loss")]
    assert set(values) == {(1, 0.5), (2, 0.25)}


@needs("wandb")
@pytest.mark.slow
def test_wandb_writes_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    write({"name": "wandb", "project": "leaves", "entity": None, "offline": True}, run_dir)
    import wandb

    wandb.teardown()  # until the process that writes has ended
    (file,) = (run_dir / "wandb").glob("offline-run-*/*.wandb")
    assert json.loads((run_dir / ID_FILE).read_text())["wandb"] in file.name
    logged = wandb_history(file)
    assert [row["1_tail/train_loss"] for row in logged if "1_tail/train_loss" in row] == [0.5, 0.25]
    assert [row["test/top1"] for row in logged if "test/top1" in row] == [0.75]


def wandb_history(file: Path) -> list[dict[str, Any]]:
    """The rows of the history in a file that `wandb sync` would upload: protocol buffers in a log of LevelDB."""
    from wandb.proto import wandb_internal_pb2

    content, at, whole, rows = file.read_bytes(), 7, b"", list[dict[str, Any]]()
    while at + 7 <= len(content):
        left = 32768 - at % 32768
        if left < 7:  # the end of a block, in which no record begins
            at += left
            continue
        length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        whole = (b"" if kind in (1, 2) else whole) + content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            if record.WhichOneof("record_type") == "history":
                items = record.history.item
                rows.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
    return rows


def test_a_missing_package_is_one_message_with_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("transferkit.training.run_logger.find_spec", lambda name: None)
    with pytest.raises(TransferkitError, match=r"logger=wandb needs wandb: .*'transferkit\[wandb\]'"):
        run_logger({"logger": {"name": "wandb"}}, tmp_path).__enter__()


@pytest.mark.parametrize("name", ["csv", "none"])
def test_off_unless_it_is_asked_for(name: str, tmp_path: Path) -> None:
    with run_logger({"logger": {"name": name}}, tmp_path) as logger:
        assert logger is None
    assert list(tmp_path.iterdir()) == []


def test_a_logger_can_be_passed_to_another_process(tmp_path: Path) -> None:
    logger = RunLogger({"name": "tensorboard", "dir": None}, tmp_path)
    logger._opened = lambda: None  # which cannot be pickled
    assert pickle.loads(pickle.dumps(logger))._opened is None
