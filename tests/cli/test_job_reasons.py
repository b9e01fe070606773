"""The status of a failed job names the reason of its own failure."""

import errno
import json
from pathlib import Path

import pytest

from transferkit.cli.failures import plain_reason
from transferkit.cli.job import recorded_end
from transferkit.errors import TransferkitError
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
