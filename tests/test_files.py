"""Atomic files of the run directory."""

import csv
import json
from pathlib import Path

import pytest

from transferkit.files import write_csv, write_json
from transferkit.rundir import Status, write_status


def test_status_holds_what_happened(tmp_path: Path) -> None:
    write_status(tmp_path, Status.RUNNING)
    write_status(tmp_path, Status.FAILED, "the disk is full")
    status = json.loads((tmp_path / "status.json").read_text())
    assert (status["status"], status["reason"]) == ("failed", "the disk is full")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"top1": 0.5})
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"top1": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text()) == {"top1": 0.5}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_csv_comes_back_as_it_was(tmp_path: Path) -> None:
    rows = [["a,b", 'say "x"'], ["línea\nzwei", "中文"]]
    write_csv(tmp_path / "t.csv", ["one", "two"], rows)
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [["one", "two"], *rows]
