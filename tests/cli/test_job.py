"""However a job ends, its run directory says so, the message is one, and nothing is left over."""

import json
import multiprocessing
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.cli.test_failures import raised_from
from tests.conftest import RunCommand
from tests.processes import Process, PythonStarter
from transferkit.cli import job_record
from transferkit.cli.job_record import run_recorded
from transferkit.errors import TransferkitError
from transferkit.files import write_text
from transferkit.rundir import Status, Terminated, one_job

FINETUNE = [
    *("strategy=finetune_few", "selection=val", "dataset.per_class=20", "dataset.max_test=50", "trainer.num_workers=0"),
    *("trainer.device=cpu", "strategy.batch_size=8", "hydra.run.dir=run"),
    "strategy.phases.tail.epochs=6",
]


def status(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "status.json").read_text())
    return content


def left_over(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if "tmp" in path.name]


def start(python: PythonStarter, *arguments: str, cwd: Path, code: str = "") -> Process:
    """Start a job in `cwd`, after `code` has run in its process."""
    script = f"{code}\nfrom transferkit.__main__ import main\nmain()"
    return python.start("-c", script, *arguments, cwd=cwd, merged=True)


def wait_until(reached: Callable[[], bool], process: Process, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def raising(error: BaseException) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


def assert_one_message(printed: str) -> None:
    assert "Traceback" not in printed
    assert "This is a bug" not in printed


def test_a_second_job_leaves_the_first_ones_files_alone(transferkit: RunCommand, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / ".hydra").mkdir()
    (run / ".hydra/config.yaml").write_text("seed: 1\n")
    (run / "status.json").write_text('{"status": "running", "pid": 4321, "host": "elsewhere"}')
    with one_job(run):
        done = transferkit("seed=2", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 1
    assert "process 4321 on elsewhere" in done.stdout + done.stderr
    assert_one_message(done.stdout + done.stderr)
    assert (run / ".hydra/config.yaml").read_text() == "seed: 1\n"
    assert status(run)["pid"] == 4321
    assert not (run / "metrics.json").exists()


@pytest.mark.slow
def test_sigterm_in_a_training_and_the_same_command_again(
    transferkit: RunCommand, python: PythonStarter, tmp_path: Path
) -> None:
    (tmp_path / "whole").mkdir()
    whole = transferkit(*FINETUNE, cwd=tmp_path / "whole")
    assert whole.returncode == 0, whole.stdout + whole.stderr
    process = start(python, *FINETUNE, cwd=tmp_path)
    wait_until(lambda: any((tmp_path / "run/checkpoints").glob("*tail/checkpoints.json")), process)
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 143, printed
    assert_one_message(printed)
    assert "Terminated by SIGTERM. The same command resumes" in printed
    assert (status(tmp_path / "run")["status"], status(tmp_path / "run")["reason"]) == (
        "failed",
        "terminated by SIGTERM",
    )
    assert not left_over(tmp_path / "run")
    again = transferkit(*FINETUNE, cwd=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "Resuming from" in again.stdout
    first, second = (json.loads((folder / "run/metrics.json").read_text()) for folder in (tmp_path / "whole", tmp_path))
    for key in ("test", "val", "phases"):
        assert first[key] == second[key]


@pytest.mark.parametrize(
    ("arguments", "limit"),
    [(["hydra.run.dir=run"], 300_000), (FINETUNE, 100_000)],
    ids=["artifact", "checkpoint"],
)
@pytest.mark.slow
def test_no_room_for_a_file(python: PythonStarter, arguments: list[str], limit: int, tmp_path: Path) -> None:
    code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))"
    process = start(python, *arguments, "cache.enabled=false", cwd=tmp_path, code=code)
    printed, _ = process.communicate(timeout=200)
    assert process.returncode == 1
    assert_one_message(printed)
    assert "File too large" in printed
    assert status(tmp_path / "run")["status"] == "failed"
    assert "File too large" in status(tmp_path / "run")["reason"]
    assert not left_over(tmp_path / "run")


DYING_WORKER = """
import os, signal
from PIL import Image
from torch.utils.data import get_worker_info

def open_or_die(*arguments, opened=[], quick=Image.open, **more):
    if get_worker_info() is not None:
        opened.append(1)
        if len(opened) == 20:
            os.kill(os.getpid(), signal.SIGKILL)
    return quick(*arguments, **more)

Image.open = open_or_die
"""
"""Kills each process that loads images at its 20th one, as the system does when memory runs out."""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for label in range(2):
        folder = tmp_path / "photos" / f"class{label}"
        folder.mkdir(parents=True)
        for i in range(40):
            Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(folder / f"{i}.jpg")
    return tmp_path / "photos"


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), ("strategy=full_finetune", "augment=flip_crop")], ids=["probe", "finetune"])
def test_a_killed_worker_process(python: PythonStarter, photos: Path, tmp_path: Path, more: tuple[str, ...]) -> None:
    process = start(
        python,
        *("dataset=folder", f"dataset.root={photos}", "backbone=resnet_glyphs", "trainer.device=cpu"),
        *("trainer.num_workers=1", "trainer.batch_size=8", "cache.enabled=false", "hydra.run.dir=run", *more),
        cwd=tmp_path,
        code=DYING_WORKER,
    )
    printed, _ = process.communicate(timeout=100)
    assert process.returncode == 1, printed
    assert_one_message(printed)
    assert "A process that loads images died" in printed
    assert "trainer.num_workers=0" in status(tmp_path / "run")["reason"]
    assert status(tmp_path / "run")["status"] == "failed"
    assert not left_over(tmp_path / "run")


@pytest.mark.parametrize("first", [ConnectionResetError("reset"), EOFError(), KeyError("x")])
def test_the_death_of_a_worker_is_the_reason_although_its_report_is_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: Exception
) -> None:
    """A broken connection comes first; the report, torch's error in a handler of SIGCHLD, at any time after it."""

    def report(*_: object) -> None:
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")

    def write(path: Path, content: str) -> None:
        if Status.FAILED in content:
            os.kill(os.getpid(), signal.SIGCHLD)
        write_text(path, content)

    broken = isinstance(first, ConnectionError | EOFError)
    monkeypatch.setattr("transferkit.files.write_text", write)
    monkeypatch.setattr("transferkit.cli.failures.time.sleep", report)
    previous = signal.signal(signal.SIGCHLD, report)
    try:
        with pytest.raises(RuntimeError if broken else KeyError):
            run_recorded(tmp_path, raising(first))
        assert signal.getsignal(signal.SIGCHLD) is report
    finally:
        signal.signal(signal.SIGCHLD, previous)
    status = json.loads((tmp_path / "status.json").read_text())
    assert status["status"] == "failed"
    assert ("A process that loads images died" if broken else "KeyError") in status["reason"]


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (TransferkitError("A process that loads images died."), "A process that loads images died."),
        (ConnectionResetError("reset"), "A process that loads images died (DataLoader worker (pid 7) is killed"),
        (Terminated(), "terminated by SIGTERM"),
    ],
)
@pytest.mark.parametrize("where", ["plain_reason", "deaths_raise_nothing"])
def test_the_end_is_recorded_although_a_report_interrupts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: BaseException, reason: str, where: str
) -> None:
    """Torch raises the report of a worker's death wherever the main thread is, also after the first error of it."""
    reports = [RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")]
    undisturbed = getattr(job_record, where)

    def interrupted(*arguments: Any) -> Any:
        if reports:
            raise reports.pop()
        return undisturbed(*arguments)

    monkeypatch.setattr("transferkit.cli.failures.REPORT_SECONDS", 0.0)
    monkeypatch.setattr(job_record, where, interrupted)
    broken = isinstance(first, ConnectionError)
    with pytest.raises(RuntimeError if broken else type(first)):
        run_recorded(tmp_path, raising(first))
    assert status(tmp_path)["status"] == "failed"
    assert status(tmp_path)["reason"].startswith(reason)
    assert bool(reports) == (where == "plain_reason" and not broken)


def test_a_broken_connection_to_a_worker_is_its_death_although_the_report_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python cannot raise the report in a destructor: it is neither printed nor the only sign."""
    monkeypatch.setattr("transferkit.cli.failures.REPORT_SECONDS", 0.0)

    class Ending:
        def __del__(self) -> None:
            raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")

    ours, theirs = multiprocessing.Pipe()
    theirs.close()

    def read() -> None:
        Ending()
        ours.recv()

    with pytest.raises(RuntimeError, match="worker"):
        run_recorded(tmp_path, read)
    assert "Ending" not in capsys.readouterr().err
    assert "A process that loads images died" in json.loads((tmp_path / "status.json").read_text())["reason"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (raised_from(TransferkitError("choose another cache.dir"), MemoryError()), "choose another cache.dir"),
        (raised_from(Terminated(), MemoryError()), "terminated by SIGTERM"),
        (KeyboardInterrupt(), "interrupted"),
        (KeyError("x"), "KeyError: 'x'"),
    ],
)
def test_the_status_says_why(tmp_path: Path, error: BaseException, reason: str) -> None:
    with pytest.raises(type(error)):
        run_recorded(tmp_path, raising(error))
    status = json.loads((tmp_path / "status.json").read_text())
    assert (status["status"], status["reason"]) == ("failed", reason)


SLOW_IMAGES = """
import time
import transferkit.features.waiting_rows
from transferkit.data.imageset import ImageSet

def slow(self, index, quick=ImageSet.identified):
    time.sleep(0.02)
    return quick(self, index)

ImageSet.identified = slow
transferkit.features.waiting_rows.KEEP_SECONDS = 0.1
"""


def indexes(cache: Path) -> dict[Path, bytes]:
    """The indexes of a feature cache: they only grow, by a block each time that rows are written."""
    return {path: path.read_bytes() for path in cache.rglob("*.index")}


@pytest.mark.slow
def test_killed_in_the_extraction_and_started_again(
    transferkit: RunCommand, python: PythonStarter, photos: Path, tmp_path: Path
) -> None:
    # Random weights differ from process to process unless the run's seed governs them: the cache would never hit.
    command = ["dataset=folder", f"dataset.root={photos}", "backbone=resnet_glyphs", "backbone.weights=null", "seed=3"]
    command += ["trainer.num_workers=1", "trainer.batch_size=8"]
    killed = start(python, *command, "cache.dir=cache", "hydra.run.dir=killed", cwd=tmp_path, code=SLOW_IMAGES)
    sizes = set()

    def several_blocks() -> bool:
        """Whether rows were written at several times: the last block may be cut off, the ones before are whole."""
        sizes.add(sum(map(len, indexes(tmp_path / "cache").values())))
        return len(sizes - {0}) >= 3

    wait_until(several_blocks, killed)
    killed.kill()
    assert status(tmp_path / "killed")["status"] == "running"
    kept = indexes(tmp_path / "cache")
    metrics = []
    for cache, run in (("cache", "resumed"), ("other", "uninterrupted")):
        done = transferkit(*command, f"cache.dir={cache}", f"hydra.run.dir={run}", cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        metrics.append(json.loads((tmp_path / run / "metrics.json").read_text()))
        rows = re.findall(r"(\d+) images, (\d+) from the cache, (\d+) computed", done.stdout)
        assert 0 < int(rows[0][1]) < int(rows[0][0]) if cache == "cache" else int(rows[0][1]) == 0, rows
    for part in ("test", "val"):
        assert metrics[0][part] == pytest.approx(metrics[1][part], abs=1e-4)
    now = indexes(tmp_path / "cache")
    # A block that was being written when the process was killed may be cut off; whole ones stay as they are.
    assert sum(now[path].startswith(content) for path, content in kept.items()) >= len(kept) - 1
