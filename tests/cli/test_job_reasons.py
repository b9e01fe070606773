"""The status of a failed job names the reason of its own failure."""

import errno
import json
import os
import signal
from pathlib import Path

import pytest

from transferkit.cli.failures import plain_reason
from transferkit.cli.job import recorded_end
from transferkit.errors import TransferkitError
from transferkit.files import write_text
from transferkit.rundir import Status, Terminated, write_status

FULL = OSError(errno.ENOSPC, "No space left on device", "/runs/model.json")


def raised_from(error: BaseException, cause: BaseException | None) -> BaseException:
    try:
        raise error from cause
    except BaseException as caught:
        return caught


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (FULL, "No space left on device (/runs/model.json): free"),
        (raised_from(RuntimeError("torch could not write"), FULL), "No space left"),
        (OSError(errno.EFBIG, "File too large", "x"), "ulimit"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), "hydra.run.dir"),
        (MemoryError(), "Memory ran out: a smaller trainer.batch_size"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), "trainer.num_workers=0"),
    ],
)
def test_the_machine_is_named(error: BaseException, told: str) -> None:
    assert told in (plain_reason(error) or "")


def test_bugs_stay_bugs() -> None:
    bug = KeyError("x")
    bug.__context__, bug.__suppress_context__ = FULL, True
    assert plain_reason(bug) is None
    assert plain_reason(ValueError("y")) is None


@pytest.mark.parametrize("first", [ConnectionResetError("reset"), EOFError(), KeyError("x")])
def test_the_death_of_a_worker_is_the_reason_although_its_report_is_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: Exception
) -> None:
    """A broken connection comes first; the report, torch's error in a handler of SIGCHLD, at any time after it."""

    def report(*_: object) -> None:
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")

    def write(path: Path, content: str) -> None:
        os.kill(os.getpid(), signal.SIGCHLD)
        write_text(path, content)

    broken = isinstance(first, ConnectionError | EOFError)
    monkeypatch.setattr("transferkit.files.write_text", write)
    monkeypatch.setattr("transferkit.cli.failures.time.sleep", report)
    previous = signal.signal(signal.SIGCHLD, report)
    try:
        with pytest.raises(RuntimeError if broken else KeyError), recorded_end(tmp_path):
            raise first
        assert signal.getsignal(signal.SIGCHLD) is report
    finally:
        signal.signal(signal.SIGCHLD, previous)
    status = json.loads((tmp_path / "status.json").read_text())
    assert status["status"] == "failed"
    assert ("A process that loads images died" if broken else "KeyError") in status["reason"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (raised_from(TransferkitError("choose another cache.dir"), FULL), "choose another cache.dir"),
        (raised_from(Terminated(), FULL), "terminated by SIGTERM"),
        (KeyboardInterrupt(), "interrupted"),
        (KeyError("x"), "KeyError: 'x'"),
    ],
)
def test_the_status_says_why(tmp_path: Path, error: BaseException, reason: str) -> None:
    write_status(tmp_path, Status.RUNNING)
    with pytest.raises(type(error)), recorded_end(tmp_path):
        raise error
    status = json.loads((tmp_path / "status.json").read_text())
    assert (status["status"], status["reason"]) == ("failed", reason)
