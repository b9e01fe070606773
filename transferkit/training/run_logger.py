"""The curves and the result of a run in TensorBoard, MLflow or Weights & Biases, by Lightning's loggers."""

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transferkit.config.flat_values import flat_values
from transferkit.errors import TransferkitError
from transferkit.files import write_json
from transferkit.untrusted import read_json

log = logging.getLogger(__name__)

ID_FILE = "logger.json"
"""In the run directory: which run of MLflow or Weights & Biases it is, so that a resumed training goes on there."""

NOT_LOGGED = ("cache", "logger", "overrides", "choices", "run", "runs", "images", "inspect", "extract", "report")
"""Settings that say nothing about the result."""


class RunLogger:
    """The log of a run; it can be passed to other processes, of which each opens its own connection.

    Args:
        settings: The group `logger`.
        run_dir: Of the run; names in the log are relative to it.
    """

    def __init__(self, settings: Mapping[str, Any], run_dir: Path) -> None:
        self._settings = dict(settings)
        self._run_dir = run_dir
        self._opened: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_opened": None}

    def log_epoch(self, folder: Path, row: Mapping[str, float]) -> None:
        """Log the figures of an epoch, at that epoch.

        Args:
            folder: Of the checkpoints of the training: `checkpoints/1_tail` is called `1_tail`, one of
                `folds/2/checkpoints/1_tail` `folds/2/1_tail`.
            row: `epoch`, and what `history.csv` has.
        """
        parts = folder.relative_to(self._run_dir).parts if folder.is_relative_to(self._run_dir) else folder.parts[-1:]
        place = "/".join(part for part in parts if part != "checkpoints")
        figures = {f"{place}/{name}" if place else name: value for name, value in row.items() if name != "epoch"}
        logger = self._logger()
        logger.log_metrics(figures, step=int(row["epoch"]))
        if self._settings["name"] == "tensorboard":
            logger.experiment.flush()  # an epoch is seen at once, and kept if the process is killed

    def log_result(self, settings: Mapping[str, Any], metrics: Mapping[str, Any]) -> None:
        """Log the settings of the run as hyperparameters, and its figures on val and test."""
        figures = {
            f"{split}/{name}": float(value)
            for split in ("val", "test")
            for name, value in metrics[split].items()
            if isinstance(value, int | float)
        }
        figures["seconds"] = float(metrics["seconds"]["total"])
        logger = self._logger()
        known = flat_values({key: value for key, value in settings.items() if key not in NOT_LOGGED})
        known = {re.sub(r"[^\w.\- ]", "_", key): value for key, value in known.items()}  # MLflow refuses others
        if self._settings["name"] == "tensorboard":
            logger.log_hyperparams(known, {f"hp/{name}": value for name, value in figures.items()})
        else:
            logger.log_hyperparams(known)
        logger.log_metrics(figures, step=0)

    def close(self, status: str) -> None:
        """End the run with Lightning's "success" or "failed"; nothing where nothing was logged."""
        if self._opened is None:
            return
        self._opened.finalize(status)
        if self._settings["name"] == "wandb":
            self._opened.experiment.finish(exit_code=int(status != "success"))  # the next run of a sweep is another one
        self._opened = None

    def _logger(self) -> Any:
        if self._opened is None:
            self._opened = OPEN[self._settings["name"]](self._settings, self._run_dir)
        return self._opened


@contextmanager
def run_logger(settings: Mapping[str, Any], run_dir: Path) -> Iterator[RunLogger | None]:
    """The logger that the group `logger` names, ended with the block; None for `csv` and `none`.

    Args:
        settings: The resolved configuration.
        run_dir: Of the run.

    Raises:
        TransferkitError: Its package is not installed.
    """
    name = settings["logger"]["name"]
    if name not in OPEN:
        yield None
        return
    if find_spec(name) is None:
        raise TransferkitError(f"logger={name} needs {name}: python -m pip install 'transferkit[{name}]'.")
    logger = RunLogger(settings["logger"], run_dir)
    try:
        yield logger
    except BaseException:
        logger.close("failed")
        raise
    logger.close("success")


def _tensorboard(settings: Mapping[str, Any], run_dir: Path) -> Any:
    from pytorch_lightning.loggers import TensorBoardLogger

    folder = Path(settings["dir"]).expanduser() / run_dir.name if settings["dir"] else run_dir / "tensorboard"
    log.info("Curves: tensorboard --logdir %s", folder)
    return TensorBoardLogger(folder, name="", version="", default_hp_metric=False)


def _mlflow(settings: Mapping[str, Any], run_dir: Path) -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from pytorch_lightning.loggers import MLFlowLogger

    uri = settings["uri"] or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path('mlflow.db').resolve()}"
    identity = _identity(run_dir, "mlflow")
    logger = MLFlowLogger(settings["experiment"], run_dir.name, uri, run_id=identity)
    if identity is None:
        write_json(run_dir / ID_FILE, {"mlflow": logger.run_id})
    log.info("Curves: experiment %s at %s", settings["experiment"], uri)
    return logger


def _wandb(settings: Mapping[str, Any], run_dir: Path) -> Any:
    import wandb
    from pytorch_lightning.loggers import WandbLogger

    quiet = wandb.Settings(console="off", silent=True)  # what is printed is in transferkit.log
    logger = WandbLogger(
        run_dir.name,
        run_dir,
        project=settings["project"],
        entity=settings["entity"],
        offline=settings["offline"],
        id=_identity(run_dir, "wandb"),
        resume="allow",
        settings=quiet,
    )
    write_json(run_dir / ID_FILE, {"wandb": logger.experiment.id})
    run = logger.experiment
    log.info("Curves: %s", f"wandb sync {Path(run.dir).parent}" if settings["offline"] else run.url)
    return logger


OPEN = {"tensorboard": _tensorboard, "mlflow": _mlflow, "wandb": _wandb}
"""Name of a logger to what opens it; each is also the name of its package and of the extra."""


def _identity(run_dir: Path, name: str) -> str | None:
    path = run_dir / ID_FILE
    found = read_json(path).get(name) if path.is_file() else None
    return found if isinstance(found, str) else None
