"""The status of a run directory."""

import os
import time
from enum import StrEnum
from pathlib import Path

from transferkit.files import write_json


class Status(StrEnum):
    """How far a run has come."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


def write_status(run_dir: Path, status: Status, reason: str | None = None) -> None:
    """Write `status.json`: the status, why a run failed, the process and the time (seconds since 1970)."""
    write_json(run_dir / "status.json", {"status": status, "reason": reason, "pid": os.getpid(), "time": time.time()})
