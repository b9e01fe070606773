"""Finds the runs below a folder: those that are done, with figures and settings, and those that are not."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from os.path import commonprefix
from pathlib import Path
from typing import Any

from transferkit.compare.run_figures import check_figures
from transferkit.config.flat_values import flat_values
from transferkit.errors import TransferkitError, shown_text
from transferkit.plain_yaml import read_yaml
from transferkit.rundir import Status, read_status
from transferkit.untrusted import UnreadableFile, read_json


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A fit that is done.

    Attributes:
        folder: The run directory.
        metrics: The content of `metrics.json`.
        settings: Dotted key to value, of the configuration as it was composed; what only the artifact tells where
            Hydra left none.
        test_images: A hash of which images the test split holds; None where `split.csv` is missing.
        labelled: Images of train and val together; None where `split.csv` is missing.
        time: When it ended, in seconds since 1970.
    """

    folder: Path
    metrics: Mapping[str, Any]
    settings: Mapping[str, Any]
    test_images: str | None
    labelled: int | None
    time: float

    @property
    def per_class(self) -> float | None:
        """Labelled images (train and val) of an average class."""
        return None if self.labelled is None else self.labelled / self.metrics["num_classes"]


@dataclass(frozen=True)
class UnfinishedRun:
    """A run without figures to compare: its folder, its status, and why in a line."""

    folder: Path
    status: str
    reason: str


def find_runs(folders: Sequence[Path]) -> tuple[list[FinishedRun], list[UnfinishedRun]]:
    """Read every fit below the folders, whatever the layout in between; runs of other tasks are passed over.

    Raises:
        TransferkitError: a folder does not exist, or none holds a fit that is done.
    """
    for folder in folders:
        if not folder.is_dir():
            raise TransferkitError(f"runs={folder}: there is no such folder.")
    found = sorted({path.parent.resolve() for folder in folders for path in _signs(folder)})
    runs = [run for run in map(read_run, found) if run is not None]
    finished = [run for run in runs if isinstance(run, FinishedRun)]
    unfinished = [run for run in runs if isinstance(run, UnfinishedRun)]
    if not finished:
        where = ", ".join(map(str, folders))
        if not unfinished:
            raise TransferkitError(
                f"runs={where}: no run of task=fit below it. Name a folder that holds run directories, such as runs, "
                "multirun or multirun/TIME."
            )
        first = unfinished[0]
        raise TransferkitError(
            f"runs={where}: none of {len(unfinished)} runs below it is done. The first, {first.folder.name}, is "
            f"{first.status}: {first.reason}"
        )
    return finished, unfinished


def _signs(folder: Path) -> Iterator[Path]:
    yield from folder.rglob("status.json")
    yield from folder.rglob("metrics.json")


def read_run(folder: Path) -> FinishedRun | UnfinishedRun | None:
    """Read one run directory; None if it is not one of task=fit.

    What others wrote there is data: it is bounded, nothing in it is resolved, and what cannot be used is the reason
    why the run counts as unfinished.
    """
    try:
        return _read_run(folder)
    except UnreadableFile as error:
        return UnfinishedRun(folder, "unreadable", _shown(error))
    except ValueError as error:
        return UnfinishedRun(folder, "unknown", _shown(error))


def _read_run(folder: Path) -> FinishedRun | UnfinishedRun | None:
    status, settings = read_status(folder), read_settings(folder)
    metrics = read_json(folder / "metrics.json") if (folder / "metrics.json").exists() else None
    if settings.get("task.name", "fit") != "fit":
        return None
    if "task.name" not in settings and "strategy" not in (metrics or {}):
        return None  # without Hydra's files only the figures tell a fit from the rest
    state = status.get("status")
    if state != Status.DONE:
        reason = _shown(status.get("reason"))
        if state not in list(Status):
            return UnfinishedRun(folder, "unknown", reason or "status.json is missing or damaged")
        return UnfinishedRun(folder, str(state), reason or "still running, or killed")
    if metrics is None:
        return UnfinishedRun(folder, "unknown", "metrics.json is missing")
    figures = check_figures(metrics)
    test_images, labelled = read_split(folder / "split.csv")
    ended = status.get("time")
    return FinishedRun(
        folder, figures, settings, test_images, labelled, float(ended) if isinstance(ended, int | float) else 0.0
    )


def read_settings(folder: Path) -> dict[str, Any]:
    """Return the settings of a run by dotted key; interpolations stay as they are written.

    Raises:
        UnreadableFile: The file of the settings is damaged, or is more than settings are.
    """
    path = folder / ".hydra" / "config.yaml"
    if path.exists():
        return flat_values(read_yaml(path))
    model = read_json(folder / "model.json") if (folder / "model.json").exists() else {}
    return flat_values({key: model[key] for key in ("dataset", "strategy", "seed") if key in model})


def read_split(path: Path) -> tuple[str | None, int | None]:
    """Return a hash of the test images of a `split.csv`, and how many images train and val have together.

    Paths are hashed below the folder that they share, so that a run on another machine is recognised.
    """
    try:
        if not path.is_file():
            return None, None
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            rows = list(csv.reader(file))[1:]
    except (OSError, csv.Error):
        return None, None
    test = sorted("\0".join(row[:2]) for row in rows if row[2:] == ["test"])
    # Of sorted rows, the first and the last share what all share; that it ends within a name does no harm.
    shared = len(commonprefix([test[0], test[-1]])) if test else 0  # noqa: RUF071
    digest = blake2b(digest_size=8)
    for row in test:
        digest.update((row[shared:] + "\n").encode("utf-8", "surrogateescape"))
    return digest.hexdigest(), len(rows) - len(test)


def _shown(reason: Any) -> str:
    """The first line of a reason, of bounded length, as a terminal can show it."""
    lines = str(reason or "").splitlines()
    return shown_text(lines[0][:300]) if lines else ""
