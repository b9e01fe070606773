import logging
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from transferkit.cli.sweep import SweepEnd, compare_command, failures, read_jobs
from transferkit.rundir import Status, write_status


def config(folder: Path, task: str = "fit") -> DictConfig:
    return OmegaConf.create({"hydra": {"sweep": {"dir": str(folder)}}, "task": {"name": task}})


def test_all_well_ends_with_the_command_that_compares(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    end = SweepEnd()
    end.on_multirun_start(config(tmp_path))
    write_status(tmp_path / "0_x", Status.DONE)
    end.on_multirun_end(config(tmp_path))
    assert compare_command(tmp_path) in caplog.text


def test_failures_end_with_status_1_and_are_listed_in_the_order_of_the_jobs(tmp_path: Path) -> None:
    end = SweepEnd()
    end.on_multirun_start(config(tmp_path))
    write_status(tmp_path / "0_x", Status.DONE)
    write_status(tmp_path / "10_x", Status.FAILED, "disk full\nmore")
    write_status(tmp_path / "9_x", Status.RUNNING)
    with pytest.raises(SystemExit) as ended:
        end.on_multirun_end(config(tmp_path))
    message = str(ended.value.code)
    assert message.startswith("2 of 3 jobs failed")
    assert message.splitlines()[1:] == ["  9_x: did not end; was it killed?", "  10_x: disk full"]


def test_jobs_of_an_older_sweep_in_the_same_folder_do_not_count(tmp_path: Path) -> None:
    write_status(tmp_path / "0_old", Status.FAILED, "long ago")
    end = SweepEnd()
    end.on_multirun_start(config(tmp_path))
    write_status(tmp_path / "0_new", Status.DONE)
    end.on_multirun_end(config(tmp_path))  # exits for a failed job
    assert [name for name, _, _ in read_jobs(tmp_path, end._start)] == ["0_new"]


def test_a_damaged_status_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "0_x").mkdir()
    (tmp_path / "0_x/status.json").write_text("{")
    assert read_jobs(tmp_path, 0) == []
    assert failures([]) == ""


def test_a_folder_with_a_space_is_quoted() -> None:
    assert compare_command(Path("my runs")).endswith("task=compare 'runs=my runs'")
