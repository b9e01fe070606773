"""strategy=auto after SIGKILL in a trial: the same command goes on and decides as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RunCommand

ARGUMENTS = [
    *("strategy=auto", "strategy.auto.budget=1", "strategy.auto.contenders=2", "strategy.auto.share=0.1"),
    *(
        "backbone=resnet_fractals",
        "dataset=digits",
        "dataset.per_class=16",
        "dataset.max_test=60",
        "trainer.num_workers=0",
        "trainer.device=cpu",
    ),
]


def kill_when(reached: Any, folder: Path) -> None:
    command = [sys.executable, "-m", "transferkit", *ARGUMENTS, "hydra.run.dir=killed"]
    process = subprocess.Popen(command, cwd=folder, start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not reached():
            assert process.poll() is None, "it ended before the trial"
            assert time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.slow
def test_killed_in_a_trial_it_ends_with_the_same_metrics(transferkit: RunCommand, tmp_path: Path) -> None:
    kill_when(lambda: any((tmp_path / "killed" / "trials").glob("*/checkpoints/*/*.ckpt")), tmp_path)
    assert not (tmp_path / "killed" / "metrics.json").exists()
    metrics = []
    for folder in ("killed", "uninterrupted"):
        done = transferkit(*ARGUMENTS, f"hydra.run.dir={folder}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        metrics.append(json.loads((tmp_path / folder / "metrics.json").read_text()))
    resumed, uninterrupted = metrics
    assert uninterrupted["trials"]
    for key in ("test", "val", "chosen", "trials"):
        assert resumed[key] == uninterrupted[key], key
