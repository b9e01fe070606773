"""What a job of a multirun must respect: one device, and its share of the machine where jobs run side by side."""

import logging
import multiprocessing
import os
from collections.abc import Mapping
from typing import Any

from hydra.conf import HydraConf

from transferkit.cores import count_cores
from transferkit.errors import TransferkitError


def refuse_several_devices(settings: Mapping[str, Any]) -> None:
    """Refuse a job of a multirun that wants several devices.

    Each further device is a process that runs the command line again: the whole sweep, into another folder.

    Raises:
        TransferkitError: `trainer.devices` is, or may turn out to be, more than one.
    """
    devices = settings["trainer"].get("devices", 1)
    one = len(devices) == 1 if isinstance(devices, list) else str(devices) == "1"
    if not one:
        raise TransferkitError(
            f"trainer.devices={devices} does not go together with a multirun (-m), where each job has one device. "
            "Leave trainer.devices at 1, or start the runs one by one, without -m."
        )


def fit_beside_others(settings: dict[str, Any], hydra_config: HydraConf) -> None:
    """Make a job fit beside those that joblib runs at the same time; with another launcher, do nothing.

    joblib gives each job its share of the threads itself (through OMP_NUM_THREADS and the like). What is left:
    processes that decode images, progress bars that would overwrite each other, lines that do not say whose they are.

    Args:
        settings: `trainer.num_workers`, where it is auto, becomes the job's share of the cores; none where that is one.
        hydra_config: Hydra's own settings.
    """
    if "joblib" not in hydra_config.launcher["_target_"]:
        return
    side_by_side = _jobs_at_once(int(hydra_config.launcher.n_jobs))
    if side_by_side < 2:
        return
    # loky, joblib's backend, makes itself the way to start processes, but can start none for a DataLoader.
    multiprocessing.set_start_method(multiprocessing.get_all_start_methods()[0], force=True)
    if settings["trainer"]["num_workers"] == "auto":
        share = count_cores() // side_by_side
        settings["trainer"]["num_workers"] = share if share > 1 else 0
    os.environ["TTY_COMPATIBLE"] = "0"  # rich then takes the terminal for none: log lines instead of bars
    label_lines(hydra_config.job.num)


def label_lines(job: int) -> None:
    """Begin each line on the screen with the number of the job; the log file stays as it is."""
    for handler in logging.getLogger().handlers:
        if not isinstance(handler, logging.FileHandler):
            handler.setFormatter(_Labelled(job))


class _Labelled(logging.Formatter):
    def __init__(self, job: int) -> None:
        super().__init__("%(message)s")
        self._label = f"#{job} | "

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(self._label + line for line in super().format(record).splitlines())


def _jobs_at_once(n_jobs: int) -> int:
    """Joblib's meaning of `n_jobs`: -1 is one a core, -2 one less."""
    return n_jobs if n_jobs > 0 else max(1, count_cores() + 1 + n_jobs)
