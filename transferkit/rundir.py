"""A run directory: used by one job at a time, with the status of that job."""

import json
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Any

from transferkit.errors import TransferkitError, shown_text
from transferkit.files import remove_temporary_files, write_json

STATUS_FILE = "status.json"
LOCK_FILE = ".lock"
ORPHANS_SECONDS = 30.0
SIGTERM_AGAIN_SECONDS = 3.0
_BLOCK = 4096
"""Bytes that even a small file takes on a disk, so that it can grow to so many when the disk is full."""


class Status(StrEnum):
    """The status of a run."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class Terminated(SystemExit):
    """The job received SIGTERM, as from `kill` or a scheduler. Exit status 143, as in a shell."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


def write_status(run_dir: Path, status: Status, reason: str | None = None) -> None:
    """Write `status.json`: the status, why a run failed, process, machine and time (seconds since 1970).

    If a new file cannot be written, as on a full disk, the existing one is overwritten in place.
    """
    content = {
        "status": status,
        "reason": reason,
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "time": time.time(),
    }
    path = run_dir / STATUS_FILE
    try:
        write_json(path, content)
    except OSError:
        if status != Status.FAILED or not path.is_file():
            raise
        content["reason"] = (reason or "")[: _BLOCK // 8]  # a character takes up to six bytes here
        with path.open("r+", encoding="ascii") as file:
            file.write(json.dumps(content, indent=2) + "\n")
            file.truncate()


def read_status(run_dir: Path) -> dict[str, Any]:
    """Return the content of `status.json`; empty if it cannot be read."""
    try:
        with (run_dir / STATUS_FILE).open("rb") as file:
            content = json.loads(file.read(1 << 20))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def check_done(folder: Path) -> None:
    """Refuse a run directory whose job is not finished. A folder without `status.json` is a plain artifact.

    Raises:
        TransferkitError: The job is running, was killed, or failed.
    """
    if not (folder / STATUS_FILE).exists():
        return
    content = read_status(folder)
    status = content.get("status")
    if status == Status.DONE:
        return
    reason = str(content.get("reason") or "").strip()
    state = "has a damaged status.json"
    if status == Status.RUNNING:
        state = "is still running, or was killed"
    elif status == Status.FAILED:
        state = f"failed ({shown_text(reason.splitlines()[0][:300])})" if reason else "failed"
    raise TransferkitError(
        f"The run {folder} {state}, so its model is not usable: wait for it, repeat its command with "
        f"hydra.run.dir={folder}, or name a finished run."
    )


@contextmanager
def one_job(run_dir: Path) -> Iterator[None]:
    """Lock `run_dir` for this job, and remove temporary files of a killed one.

    The lock is released when the process ends, in whatever way; the file `.lock` itself stays.

    Raises:
        TransferkitError: Another job holds it; the message names its process and machine.
    """
    from filelock import FileLock, Timeout  # not at the top: rundir is imported at every start

    lock = FileLock(run_dir / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        other = read_status(run_dir)
        try:
            # Processes that a killed job had started keep its lock until they notice, which takes some seconds.
            lock.acquire(timeout=ORPHANS_SECONDS if is_gone(other) else 0)
        except Timeout:
            raise TransferkitError(
                f"Another job is running in {run_dir}: process {other.get('pid', '?')} on {other.get('host', '?')}. "
                "Wait for it, or choose another folder with hydra.run.dir=DIR."
            ) from None
    try:
        remove_temporary_files(run_dir)
        for folder in ("checkpoints", "trials"):
            remove_temporary_files(run_dir / folder, below=True)
        yield
    finally:
        lock.release()


def is_gone(job: Mapping[str, Any]) -> bool:
    """Whether the process of a status (`read_status`) ran on this machine and has ended."""
    pid = job.get("pid")
    if job.get("host") != socket.gethostname() or not isinstance(pid, int) or not 0 < pid < 1 << 31:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """Within the block SIGTERM raises `Terminated`, so that files are closed and the status is written."""

    def terminate() -> None:
        raise Terminated

    with sigterm_calls(terminate):
        yield


@contextmanager
def sigterm_calls(end: Callable[[], None]) -> Iterator[None]:
    """Within the block SIGTERM calls a function; further ones within some seconds do nothing.

    Later ones call it again, since what it raises may have been lost: in a destructor Python cannot pass it on.
    Processes that are forked meanwhile (those of a DataLoader) end at SIGTERM as they would without it. In a thread
    other than the main one nothing changes: signals do not arrive there.

    Args:
        end: Runs in the main thread; what it raises is raised there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner, called = os.getpid(), -math.inf

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
            return
        nonlocal called
        if time.monotonic() > called + SIGTERM_AGAIN_SECONDS:
            called = time.monotonic()
            end()

    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
