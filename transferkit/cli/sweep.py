"""The end of a multirun: failed jobs, the exit status, and the command that compares the runs.

Hydra ends a multirun at the end of the batch in which a job raised, and then reports only the first such job. So in a
multirun our jobs never raise: they write `status.json`, which is read here. Imported at every start, so without heavy
imports.
"""

import logging
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from transferkit.rundir import Status, read_status

log = logging.getLogger(__name__)


class SweepEnd(Callback):
    """Hydra's callback around a multirun; `conf/hydra/transferkit.yaml` names it."""

    def __init__(self) -> None:
        self._start = 0.0

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Record the start, since the folder may contain jobs of an earlier sweep."""
        self._start = time.time()

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Log the command that compares the runs, and exit with status 1 if a job failed.

        Raises:
            SystemExit: A job failed, or ended without a status.
        """
        folder = Path(str(config.hydra.sweep.dir))
        jobs = read_jobs(folder, self._start)
        if config.task.name == "fit" and any(status == Status.DONE for _, status, _ in jobs):
            log.info("Compare the runs: %s", compare_command(folder))
        message = failures(jobs)
        if message:
            raise SystemExit(message)


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
    return f"python -m transferkit task=compare {shlex.quote(f'runs={folder}')}"


def _number(name: str) -> int:
    first = name.split("_")[0]
    return int(first) if first.isdigit() else 0
