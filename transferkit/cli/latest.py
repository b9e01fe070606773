"""The last run directory, which `run=latest` stands for. Imported at every start, so without heavy imports."""

import os
from collections.abc import Iterator
from pathlib import Path

from transferkit.errors import TransferkitError
from transferkit.rundir import STATUS_FILE, Status, read_status

LATEST = "latest"


def latest_run(below: Path) -> Path:
    """Return the run directory with a model whose job ended last; jobs that failed or still run do not count.

    Raises:
        TransferkitError: There is none.
    """
    for folder in newest_runs(below):
        if read_status(folder).get("status") == Status.DONE:
            return folder
    raise TransferkitError(f"run={LATEST}: there is no finished run with a model below {below}/; name a run directory.")


def newest_runs(below: Path) -> Iterator[Path]:
    """Yield the run directories with a model below a folder, by the time of their `status.json`, the newest first."""
    found = [
        (os.stat(Path(folder) / STATUS_FILE).st_mtime, Path(folder))
        for folder, _, files in os.walk(below)
        if STATUS_FILE in files and "model.json" in files
    ]
    yield from (folder for _, folder in sorted(found, reverse=True))
