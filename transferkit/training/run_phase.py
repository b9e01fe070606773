"""One fit: a module with a fixed trainable set, resumable, with the weights of the best epoch on val."""

import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint
from torch import Tensor

from transferkit.backbones.backbone import Backbone
from transferkit.errors import TransferkitError
from transferkit.files import write_json
from transferkit.rundir import Terminated
from transferkit.training.averaging import StochasticAverage, exponential_average, first_averaged
from transferkit.training.callbacks import EpochProgress, History, SeededSteps, StopAfter, ValCourse, set_filling
from transferkit.training.checkpoint_files import CheckpointFiles, read_checkpoint
from transferkit.training.checkpoints import LastCheckpoint, TrainedOnly
from transferkit.training.cycle_weights import Snapshots
from transferkit.training.loaders import TrainingData
from transferkit.training.plan import differences
from transferkit.training.run_logger import RunLogger
from transferkit.training.scheduled import LIGHTNING_PRECISION, ScheduledModule
from transferkit.training.spawned import SpawnedProcess
from transferkit.untrusted import UnreadableFile, read_json

log = logging.getLogger(__name__)

SNAPSHOTS = "snapshots"
"""The folder of snapshots beside the checkpoints of a fit."""

LISTED = 6  # differences in a message


@dataclass(frozen=True)
class TrainSettings:
    """The settings of a fit.

    Attributes:
        epochs: Passes over train.
        seed: Of the random numbers of a step.
        device: Lightning's accelerator: "auto", "cpu", "cuda", "mps".
        devices: Processes that share every batch, one device each.
        gradient_clip: Maximum norm of the gradient; None for no limit.
        accumulate: Batches per optimizer step.
        ema: Decay of the moving average of the weights, which is then validated and saved; 0 for none.
        swa_start: Fraction of the epochs after which the mean of the weights is validated and saved; None for never.
        early_stopping: Epochs without improvement on val after which the fit ends; None for never.
        precision: Of matrix products, as `find_precision` returns it; weights stay fp32.
        stop_after: Epochs after which the fit ends, at the rates of all `epochs`; None for all.
        keep: The final weights: "best", those of the epoch that is best on val, or "last".
        keep_val: Whether to keep the probabilities of val after every epoch.
        snapshots: Whether to keep the weights at the end of each cycle of the schedule (`SNAPSHOTS` in the folder).
        held_out: Whether val is not a part of train; if it is, the log does not show its figures.
        logger: Gets the figures of every epoch; None for none.
    """

    epochs: int
    seed: int = 0
    device: str = "auto"
    devices: int = 1
    gradient_clip: float | None = None
    accumulate: int = 1
    ema: float = 0.0
    swa_start: float | None = None
    early_stopping: int | None = None
    precision: str = "fp32"
    stop_after: int | None = None
    keep: str = "best"
    keep_val: bool = False
    snapshots: bool = False
    held_out: bool = True
    logger: RunLogger | None = None


@dataclass(frozen=True)
class Trained:
    """The result of a fit.

    Attributes:
        history: One row per epoch: `epoch` (from 1), `lr`, `train_loss`, `val_loss`, `val_top1`.
        best_epoch: The epoch that is best on val: top-1, then the lower loss.
        val: With `keep_val`, the probabilities of val (N, K) after each epoch.
    """

    history: list[dict[str, float]]
    best_epoch: int
    val: tuple[Tensor, ...] = ()


def fit_module(module: ScheduledModule, data: TrainingData | None, run: TrainSettings, folder: Path) -> Trained:
    """Fit; the module then has the weights of the best epoch, or of the last, in eval mode, on the CPU.

    If `folder` has a checkpoint, the fit resumes from it, with the same result as without the interruption; a finished
    fit is not repeated. A damaged one is named in the log, and the one before is taken, or none. Checkpoints
    lack what is frozen, which the module must have.

    Args:
        module: Logs `train_loss`, `val_loss`, `val_top1` and `val_score` per epoch.
        data: Train and val batches; None if the fit is known to be finished.
        run: The settings.
        folder: Gets the checkpoints, and finally the result in their place (`CheckpointFiles`).

    Raises:
        TransferkitError: The loss is no longer finite.
    """
    frozen = module.frozen_keys()
    files = CheckpointFiles(folder)
    trained = TrainedOnly({key: value for key, value in module.state_dict().items() if key in frozen}, files)
    found = files.newest()
    if "done" not in found:
        if not found or not read_checkpoint(found["last"])["ended"]:
            with quiet_lightning():  # a new trainer determines the devices
                trainer = _trainer(run, folder, trained)
            _fit(module, data, trainer, found.get("last"))
            found = files.newest()
        files.write({"done": _result(found, run.keep)}, alone=True)
        found = files.newest()
    # From the file, since several processes train copies of the module.
    result = read_checkpoint(found["done"])
    module.cpu().load_state_dict(trained.completed(result, found["done"]))
    module.to(memory_format=torch.contiguous_format).eval()
    for part in module.modules():
        if isinstance(part, Backbone):
            part.mark_trained()
    return Trained(result["history"], result["best_epoch"], tuple(result.get("val", ())))


def _fit(module: ScheduledModule, data: TrainingData | None, trainer: pl.Trainer, last: Path | None) -> None:
    if last:
        log.info("Resuming from %s.", last)
    module.to(memory_format=torch.channels_last)
    with quiet_lightning(), deterministic_again():
        try:
            trainer.fit(module, data, ckpt_path=last, weights_only=True)
        except Terminated:
            raise
        except SystemExit:  # raised by Lightning on Ctrl-C
            raise KeyboardInterrupt from None
        finally:
            module.fast = None


def _result(found: Mapping[str, Path], keep: str) -> dict[str, Any]:
    """The result of a finished fit, without the optimizer's state, which is twice as large as the weights."""
    loaded = {kind: read_checkpoint(found[kind]) for kind in ("best", "last")}
    return {
        "state_dict": loaded[keep]["state_dict"],
        "frozen": loaded[keep]["frozen"],
        "history": loaded["last"]["callbacks"]["History"]["rows"],
        "best_epoch": int(loaded["best"]["epoch"]) + 1,
        "val": loaded["last"]["callbacks"].get("ValCourse", {}).get("epochs", []),
    }


def check_recipe(folder: Path, recipe: Mapping[str, Any]) -> None:
    """Write the recipe of the fits in a folder of checkpoints (`recipe.json`), or compare with the one written.

    Args:
        folder: The run directory's `checkpoints`.
        recipe: Plain values.

    Raises:
        TransferkitError: They differ.
    """
    path, ours = folder / "recipe.json", json.loads(json.dumps(recipe))
    if path.is_file():
        try:
            theirs = read_json(path)
        except UnreadableFile as error:
            raise TransferkitError(
                f"{error}, so its checkpoints cannot be assigned to a training: remove {folder} to start anew, "
                "or choose another hydra.run.dir."
            ) from None
        different = differences(theirs, ours)
        named = [line for line in different if line.startswith("strategy.name ")]  # then all of its keys differ, too
        shown = "; ".join(named or [*different[:LISTED], *(["..."] if len(different) > LISTED else [])])
        if different:
            raise TransferkitError(
                f"{folder} holds checkpoints of another training: {shown}. Repeat that command to resume it, or "
                "choose another hydra.run.dir; to start from its result, give its finished run directory as "
                "backbone.weights=RUN_DIR."
            )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, ours)


def _trainer(run: TrainSettings, folder: Path, files: TrainedOnly) -> pl.Trainer:
    best = ModelCheckpoint(
        folder, "best", monitor="val_score", mode="max", save_on_train_epoch_end=True, enable_version_counter=False
    )
    # After the best one, so that it goes with it.
    last = LastCheckpoint(folder)
    callbacks: list[Callback] = [
        SpawnedProcess(),
        SeededSteps(run.seed),
        History(run.held_out, partial(run.logger.log_epoch, folder) if run.logger else None),
        EpochProgress(),
        best,
        last,
    ]
    if run.snapshots:
        callbacks.insert(0, Snapshots(folder / SNAPSHOTS))
    if run.stop_after is not None:
        callbacks.append(StopAfter(run.stop_after))
    if run.keep_val:
        callbacks.append(ValCourse())
    if run.ema:
        callbacks.append(exponential_average(run.ema))
    if run.swa_start is not None:
        callbacks.append(StochasticAverage(first_averaged(run.swa_start, run.epochs)))
    if run.early_stopping is not None:
        callbacks.append(
            EarlyStopping("val_score", mode="max", patience=run.early_stopping, check_on_train_epoch_end=True)
        )
    return pl.Trainer(
        default_root_dir=folder,
        accelerator=run.device,
        devices=run.devices,
        # Spawned rather than started from the command line, which would start earlier phases or a sweep again.
        strategy="ddp_spawn" if run.devices > 1 else "auto",
        use_distributed_sampler=False,
        max_epochs=run.epochs,
        gradient_clip_val=run.gradient_clip,
        accumulate_grad_batches=run.accumulate,
        precision=LIGHTNING_PRECISION[run.precision],
        callbacks=callbacks,
        plugins=[files],
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
        num_sanity_val_steps=0,
        reload_dataloaders_every_n_epochs=1,
        deterministic="warn",
    )


@contextmanager
def deterministic_again() -> Iterator[None]:
    """Restore torch's global switches, since Lightning does not reset `deterministic`."""
    enabled, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    fills = set_filling(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warns)
        set_filling(fills)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep Lightning's advertisements and its advice about loaders out of the log."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
