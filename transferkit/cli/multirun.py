"""Limits of a job in a multirun: one device, and its share of the machine if jobs run in parallel."""

import logging
import multiprocessing
import os
from collections.abc import Mapping
from typing import Any

from hydra.conf import HydraConf

from transferkit.cores import count_cores
from transferkit.errors import TransferkitError


def refuse_several_devices(settings: Mapping[str, Any]) -> None:
    """Refuse a job of a multirun with several devices.

    Each additional device is a process that runs the command line again: the whole sweep, in another folder.

    Raises:
        TransferkitError: `trainer.devices` is, or may turn out to be, more than one.
    """
    devices = settings["trainer"].get("devices", 1)
    one = len(devices) == 1 if isinstance(devices, list) else str(devices) == "1"
    if not one:
        raise TransferkitError(
            f"trainer.devices={devices} cannot be combined with a multirun (-m), where each job has one device. "
            "Leave trainer.devices at 1, or start the runs one by one, without -m."
        )


def fit_beside_others(settings: dict[str, Any], hydra_config: HydraConf) -> None:
    """Limit a job to its share of the machine if joblib runs several in parallel; with another launcher, do nothing.

    joblib limits the threads of each job itself (through OMP_NUM_THREADS and the like). This limits the processes that
    decode images, replaces progress bars, which would overwrite each other, and prefixes lines with the job number.

    Args:
        settings: `trainer.num_workers=auto` becomes the job's share of the cores, or 0 for a share of one.
        hydra_config: Hydra's own settings.
    """
    if "joblib" not in hydra_config.launcher["_target_"]:
        return
    side_by_side = _jobs_at_once(int(hydra_config.launcher.n_jobs))
    if side_by_side < 2:
        return
    # loky, joblib's backend, sets itself as the start method for processes, which a DataLoader cannot use.
    multiprocessing.set_start_method(multiprocessing.get_all_start_methods()[0], force=True)
    if settings["trainer"]["num_workers"] == "auto":
        share = count_cores() // side_by_side
        settings["trainer"]["num_workers"] = share if share > 1 else 0
    os.environ["TTY_COMPATIBLE"] = "0"  # makes rich write log lines instead of bars
    label_lines(hydra_config.job.num)


def label_lines(job: int) -> None:
    """Prefix each line on the screen with the job number; the log file is unchanged."""
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
    """Resolve joblib's `n_jobs`: -1 is one per core, -2 one less."""
    return n_jobs if n_jobs > 0 else max(1, count_cores() + 1 + n_jobs)
