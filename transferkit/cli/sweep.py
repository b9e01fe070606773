"""The end of a multirun: failed jobs, the exit status, the command that compares the runs, and SIGTERM.

Hydra ends a multirun at the end of the batch in which a job raised, and then reports only the first such job. So in a
multirun our jobs never raise: they write `status.json`, which is read here. Imported at every start, so without heavy
imports.
"""

import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from transferkit.report.command_text import command_of
from transferkit.rundir import SIGTERM_AGAIN_SECONDS, Status, Terminated, read_status, sigterm_calls

log = logging.getLogger(__name__)

TERMINATION_SECONDS = 30.0
"""Time for jobs that run side by side to write their status after SIGTERM."""


class SweepEnd(Callback):
    """Hydra's callback around a multirun; `conf/hydra/transferkit.yaml` names it."""

    def __init__(self) -> None:
        self._start = 0.0
        self._handling = ExitStack()

    def __reduce__(self) -> tuple[type["SweepEnd"], tuple[()]]:
        """Give the processes of joblib one of their own, since only the process of the sweep handles its SIGTERM."""
        return SweepEnd, ()

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Record the start, since the folder may hold jobs of an earlier sweep; from now on SIGTERM ends all jobs."""
        self._start = time.time()
        folder = Path(str(config.hydra.sweep.dir))
        self._handling.enter_context(sigterm_calls(lambda: end_jobs(folder, self._start)))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Log the command that compares the runs, and exit with status 1 if a job failed.

        Raises:
            SystemExit: A job failed, or ended without a status.
        """
        self._handling.close()
        folder = Path(str(config.hydra.sweep.dir))
        jobs = read_jobs(folder, self._start)
        if config.task.name == "fit" and any(status == Status.DONE for _, status, _ in jobs):
            log.info("Compare the runs: %s", compare_command(folder))
        message = failures(jobs)
        if message:
            raise SystemExit(message)


def end_jobs(folder: Path, since: float) -> None:
    """Pass SIGTERM on to the jobs of a sweep that processes of this one run, and wait until each has its status.

    Their processes are left to joblib, which ends them when an exception reaches it.

    Args:
        folder: Of the sweep.
        since: When it was started, seconds since 1970.

    Raises:
        Terminated: Always.
    """
    deadline, again = time.monotonic() + TERMINATION_SECONDS, dict[Path, float]()
    while (running := _running_beside(folder, since)) and (now := time.monotonic()) < deadline:
        for run_dir, pid in running.items():
            if now >= again.get(run_dir, 0.0):
                os.kill(pid, signal.SIGTERM)
                again[run_dir] = now + SIGTERM_AGAIN_SECONDS + 0.5
        time.sleep(0.05)
    log.error("Terminated by SIGTERM. The same command with hydra.sweep.dir=%s resumes the jobs.", folder)
    raise Terminated


def _running_beside(folder: Path, since: float) -> dict[Path, int]:
    """The run directories of the jobs that run in processes started by this one, with their process ids."""
    children = {process.pid for process in multiprocessing.active_children()}
    found: dict[Path, int] = {}
    for path in folder.rglob("status.json"):
        content = read_status(path.parent)
        begun, pid = content.get("time"), content.get("pid")
        if content.get("status") == Status.RUNNING and isinstance(begun, int | float) and begun >= since:
            found |= {path.parent: pid} if isinstance(pid, int) and pid in children else {}
    return found


def read_jobs(folder: Path, since: float) -> list[tuple[str, str, str]]:
    """Return (name, status, reason) of the jobs whose status was written `since` (seconds since 1970), by number."""
    jobs = []
    for path in folder.rglob("status.json"):
        content = read_status(path.parent)
        ended = content.get("time")
        if isinstance(ended, int | float) and ended >= since:
            name, status, reason = path.parent.relative_to(folder), content.get("status"), content.get("reason")
            jobs.append((str(name), str(status), str(reason or "")))
    return sorted(jobs, key=lambda job: (_number(job[0]), job[0]))


def failures(jobs: Sequence[tuple[str, str, str]]) -> str:
    """Return a count of the jobs that are not done and one line for each; empty if there is none."""
    bad = [(name, reason or "did not end; was it killed?") for name, status, reason in jobs if status != Status.DONE]
    if not bad:
        return ""
    lines = [f"{len(bad)} of {len(jobs)} jobs failed; for details see transferkit.log in each folder:"]
    return "\n".join([*lines, *(f"  {name}: {reason.splitlines()[0]}" for name, reason in bad)])


def compare_command(folder: Path) -> str:
    """Return the command line that compares the runs below `folder`."""
    return command_of("task=compare", f"runs={folder}")


def _number(name: str) -> int:
    first = name.split("_")[0]
    return int(first) if first.isdigit() else 0
