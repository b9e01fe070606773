"""Checkpoints: small, seldom, and of these weights only."""

from pathlib import Path
from typing import Any

import pytest
import torch

from transferkit.errors import TransferkitError
from transferkit.training.checkpoint_files import CheckpointFiles, read_checkpoint
from transferkit.training.checkpoints import SHARE, LastCheckpoint, TrainedOnly, checksum

STATE = {"frozen.weight": torch.arange(4.0), "head.weight": torch.ones(2)}
FROZEN = {"frozen.weight": STATE["frozen.weight"]}
WHOLE: dict[str, Any] = {"state_dict": STATE, "current_model_state": STATE, "epoch": 1, "optimizer_states": [1]}


def read(folder: Path) -> dict[str, dict[str, Any]]:
    return {kind: read_checkpoint(path) for kind, path in CheckpointFiles(folder).newest().items()}


def test_what_is_frozen_is_not_written_and_comes_back(tmp_path: Path) -> None:
    files = TrainedOnly(FROZEN, CheckpointFiles(tmp_path))
    files.save_checkpoint(WHOLE, tmp_path / "last.ckpt")
    written = read(tmp_path)["last"]
    assert list(written["state_dict"]) == list(written["current_model_state"]) == ["head.weight"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoints.json", "last_1.ckpt"]
    loaded = files.load_checkpoint(tmp_path / "last_1.ckpt", weights_only=True)
    for name in ("state_dict", "current_model_state"):
        assert all(torch.equal(loaded[name][key], value) for key, value in STATE.items())
    assert loaded["optimizer_states"] == [1]


def test_the_best_and_the_ended_hold_no_optimizer(tmp_path: Path) -> None:
    files = TrainedOnly(FROZEN, CheckpointFiles(tmp_path))
    files.save_checkpoint(WHOLE, tmp_path / "best.ckpt")
    files.ended = True
    files.save_checkpoint(WHOLE, tmp_path / "last.ckpt")
    for written in read(tmp_path).values():
        assert "optimizer_states" not in written
        assert list(written["state_dict"]) == ["head.weight"]


def test_the_best_is_written_with_the_next_one_as_it_was_then(tmp_path: Path) -> None:
    files, weight = TrainedOnly({}, CheckpointFiles(tmp_path)), torch.ones(2)
    files.save_checkpoint({**WHOLE, "state_dict": {"head.weight": weight}}, tmp_path / "best.ckpt")
    assert not list(tmp_path.iterdir())
    weight += 1  # training goes on
    for epoch in (2, 3):
        files.save_checkpoint({**WHOLE, "epoch": epoch}, tmp_path / "last.ckpt")
        written = read(tmp_path)
        assert written["last"]["epoch"] == epoch
        assert torch.equal(written["best"]["state_dict"]["head.weight"], torch.ones(2))
        assert written["best"]["epoch"] == 1
    assert len(list(tmp_path.glob("best_*.ckpt"))) == 1, "written once"


def test_other_frozen_weights_are_refused(tmp_path: Path) -> None:
    TrainedOnly(FROZEN, CheckpointFiles(tmp_path)).save_checkpoint(WHOLE, tmp_path / "last.ckpt")
    other = TrainedOnly({"frozen.weight": torch.arange(4.0) + 1e-6}, CheckpointFiles(tmp_path))
    with pytest.raises(TransferkitError, match=r"last_1\.ckpt goes with other frozen.*backbone\.weights.*hydra"):
        other.load_checkpoint(tmp_path / "last_1.ckpt", weights_only=True)


def test_checksum_sees_names_values_and_order() -> None:
    a, b = torch.ones(2), torch.zeros(2)
    sums = {checksum(s) for s in ({"a": a, "b": b}, {"a": b, "b": a}, {"a": a}, {"b": a}, {"a": a.to(torch.int64)})}
    assert len(sums) == 5
    strided = torch.arange(6.0).reshape(2, 3).T
    assert checksum({"a": strided}) == checksum({"a": strided.contiguous()})


def test_writing_takes_a_small_part_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, written = 0.0, []

    class Trainer:
        should_stop = False
        max_epochs = 300
        current_epoch = 0

        class strategy:
            broadcast = staticmethod(lambda value: value)
            checkpoint_io = TrainedOnly({}, CheckpointFiles(Path()))

    def write(self: Any, trainer: Any, module: Any) -> None:
        nonlocal now
        now += 2.0
        written.append(trainer.current_epoch)

    monkeypatch.setattr("transferkit.training.checkpoints.ModelCheckpoint.on_train_epoch_end", write)
    monkeypatch.setattr("transferkit.training.checkpoints.time.monotonic", lambda: now)
    callback, trainer = LastCheckpoint(tmp_path), Trainer()
    for epoch in range(300):
        now += 1.0  # the epoch
        trainer.current_epoch = epoch
        callback.on_train_epoch_end(trainer, None)
    assert written == [0, 2 * SHARE, 4 * SHARE, 299]
    assert Trainer.strategy.checkpoint_io.ended
