"""One job of the command line: runs the task, and records its status in the run directory."""

import logging
import multiprocessing
import time
import warnings
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from transferkit.cli.failures import plain_reason
from transferkit.cli.job_record import named_choices, resolve, run_recorded
from transferkit.cli.multirun import fit_beside_others, refuse_several_devices
from transferkit.cli.sweep import TERMINATION_SECONDS
from transferkit.config.schema import check_config
from transferkit.config.shortcuts import shortcut_lines
from transferkit.errors import TransferkitError
from transferkit.files import write_text
from transferkit.rundir import Terminated, one_job, sigterm_raises

log = logging.getLogger(__name__)

TASKS = {
    "fit": "transferkit.cli.fit",
    "evaluate": "transferkit.cli.evaluate",
    "predict": "transferkit.cli.predict",
    "embed": "transferkit.cli.embed",
    "pretrain": "transferkit.cli.pretrain",
    "compare": "transferkit.cli.compare",
    "fuse": "transferkit.cli.fuse",
    "advise": "transferkit.cli.advise",
    "check": "transferkit.cli.check",
    "cache": "transferkit.cli.cache",
    "inspect": "transferkit.cli.inspect",
    "export": "transferkit.cli.export",
    "demo": "transferkit.cli.demo",
    "search": "transferkit.cli.search",
}


def run_job(cfg: DictConfig, full_error: bool = False) -> None:
    """Run the task of `cfg`; write `status.json` at the start and at the end.

    Args:
        cfg: The composed configuration.
        full_error: Whether user errors are raised unchanged, for their traceback.

    Raises:
        SystemExit: the task failed, in a single run (the message has been logged); or the process received SIGTERM. In
            a multirun nothing else is raised, so that the other jobs continue: `transferkit.cli.sweep` reads the status
            files when all have ended.
    """
    hydra_config = HydraConfig.get()
    multirun = hydra_config.mode == RunMode.MULTIRUN
    run_dir = Path(hydra_config.runtime.output_dir)
    try:
        with sigterm_raises(), one_job(run_dir):
            run_recorded(run_dir, lambda: _run_configured(cfg, run_dir))
    except (KeyboardInterrupt, Terminated) as end:
        log.error(
            "%s. The same command resumes from the features already computed, and with %s=%s in the middle of a "
            "training.",
            "Terminated by SIGTERM" if isinstance(end, Terminated) else "Interrupted",
            *(("hydra.sweep.dir", hydra_config.sweep.dir) if multirun else ("hydra.run.dir", run_dir)),
        )
        if multiprocessing.parent_process() is not None:
            # The sweep ends this process of joblib when all its jobs have their status. An exception that reached
            # the sweep before that would end them without.
            time.sleep(TERMINATION_SECONDS)
        raise
    except BaseException as error:
        told = str(error) if isinstance(error, TransferkitError) else plain_reason(error)
        if told is not None:
            log.error("%s", told)
        else:
            where = log if multirun and not full_error else logging.getLogger("transferkit.file_only")
            where.error("unexpected error", exc_info=True)
        if full_error or (told is None and not multirun):
            raise
        if not multirun:
            raise SystemExit(1) from None


def _run_configured(cfg: DictConfig, run_dir: Path) -> None:
    """Write the configuration, check it as a whole, and run its task."""
    hydra_config = HydraConfig.get()
    write_configuration(cfg, run_dir)
    settings = check_config(resolve(cfg))
    for line in shortcut_lines(settings):
        log.info("%s", line)
    if hydra_config.mode == RunMode.MULTIRUN:
        refuse_several_devices(settings)
        fit_beside_others(settings, hydra_config)
    settings["overrides"] = list(hydra_config.overrides.task)
    settings["choices"] = named_choices(list(hydra_config.overrides.task))
    run_task(settings, run_dir)


def write_configuration(cfg: DictConfig, run_dir: Path) -> None:
    """Write `.hydra/`: the configuration as composed, Hydra's own, and the overrides.

    Hydra would write it before the job starts, even if another job is running in `run_dir`.
    """
    hydra_config = HydraConfig.instance().cfg
    assert hydra_config is not None
    folder = run_dir / ".hydra"
    write_text(folder / "config.yaml", OmegaConf.to_yaml(cfg))
    write_text(folder / "hydra.yaml", OmegaConf.to_yaml(hydra_config))
    write_text(folder / "overrides.yaml", OmegaConf.to_yaml(HydraConfig.get().overrides.task))


def run_task(settings: Mapping[str, Any], run_dir: Path) -> None:
    """Import the module of the task and run its `main(settings, run_dir)`."""
    name = settings["task"]["name"]
    if name not in TASKS:
        raise TransferkitError(f"task={name} is not known; the tasks are {', '.join(TASKS)}.")
    warnings.filterwarnings("ignore", category=FutureWarning)
    import_module(TASKS[name]).main(settings, run_dir)
