"""The settings of a job in plain containers, and the status of a job in its `status.json`."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from transferkit.cli.failures import (
    death_behind,
    deaths_raise_nothing,
    is_broken_connection,
    plain_reason,
    reports_in_destructors_hidden,
)
from transferkit.errors import TransferkitError, worker_died
from transferkit.rundir import Status, Terminated, write_status


def run_recorded(run_dir: Path, work: Callable[[], None]) -> None:
    """Do `work`, and keep its status in the run directory: `running`, then `done`, or `failed` and the reason.

    A function rather than a context manager, whose exit is code of its own that could be interrupted before it
    reaches ours: the death of a process that loads images is reported at any time (SIGCHLD, for which torch's handler
    raises an error), also while its consequence is recorded.

    Raises:
        BaseException: `work` raised it, or the death of a process that is behind it.
    """
    try:
        write_status(run_dir, Status.RUNNING)
        with reports_in_destructors_hidden():
            work()
        write_status(run_dir, Status.DONE)
    except BaseException as caught:
        try:
            error = _record_failure(run_dir, caught)
        except RuntimeError as report:
            if not worker_died(report):
                raise
            error = _record_failure(run_dir, report if is_broken_connection(caught) else caught)
        if error is caught:
            raise
        raise error from None


def _record_failure(run_dir: Path, caught: BaseException) -> BaseException:
    """Write `failed` and the reason, and return the error behind `caught`."""
    error = death_behind(caught)
    if isinstance(error, Terminated | KeyboardInterrupt):
        reason = "terminated by SIGTERM" if isinstance(error, Terminated) else "interrupted"
    elif isinstance(error, TransferkitError):
        reason = str(error)
    else:
        reason = plain_reason(error) or f"{type(error).__name__}: {error}"
    # If nothing can be written to the disk, the message on the screen remains.
    with deaths_raise_nothing(), suppress(OSError):
        write_status(run_dir, Status.FAILED, reason)
    return error


def resolve(cfg: DictConfig) -> dict[str, Any]:
    """Return `cfg` as plain containers, with every interpolation resolved."""
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise TransferkitError(f"Values are missing; give them on the command line: {'=... '.join(missing)}=...")
    settings = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(settings, dict)
    return {str(key): value for key, value in settings.items()}


def named_choices(overrides: list[str]) -> list[str]:
    """Return the top-level groups and keys that were named on the command line, e.g. `["dataset", "seed"]`."""
    return sorted({override.lstrip("+~").split("=")[0].split(".")[0].split("@")[0] for override in overrides})
