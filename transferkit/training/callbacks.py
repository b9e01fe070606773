"""Callbacks around the steps of a fit: random numbers, history, progress."""

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torch.optim import Optimizer

from transferkit.errors import TransferkitError
from transferkit.progress import Advance, progress
from transferkit.ranking import score
from transferkit.targets.class_target import ClassTarget
from transferkit.targets.target import Target
from transferkit.training.epochs import seed_step

log = logging.getLogger(__name__)

FIGURES = ("train_loss", "val_loss", "val_top1")


def set_filling(on: bool) -> bool:
    """Set whether deterministic algorithms fill newly allocated memory; return the previous setting."""
    switches: Any = torch.utils.deterministic
    before = bool(switches.fill_uninitialized_memory)
    switches.fill_uninitialized_memory = on
    return before


class SeededSteps(Callback):  # type: ignore[misc]
    """Makes the random numbers of a step (dropout, MixUp) the same after resuming."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def setup(self, *args: Any, **kwargs: Any) -> None:
        """Disable the filling of newly allocated memory in deterministic mode, which takes a tenth of the time.

        It only makes reads of uninitialised memory repeatable, of which there are none.
        """
        set_filling(False)

    def on_train_batch_start(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        """Seed the random numbers of the step."""
        seed_step(self._seed + trainer.global_rank, trainer.fit_loop.total_batch_idx)


class History(Callback):  # type: ignore[misc]
    """One row per epoch; stored in checkpoints.

    Args:
        held_out: Whether val was not fitted, so that the log shows its figures.
        log_epoch: Gets the row of an epoch when it ends, in one process; None for nothing.

    Attributes:
        rows: `epoch` (from 1), `lr` (the highest), `train_loss`, `val_loss`, `val_top1` of classes, `lr_STAGE` of each
            stage.
    """

    def __init__(self, held_out: bool = True, log_epoch: Callable[[Mapping[str, float]], None] | None = None) -> None:
        self.rows: list[dict[str, float]] = []
        self._held_out = held_out
        self._log_epoch = log_epoch

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the epoch, and log it.

        Raises:
            TransferkitError: The loss is no longer finite.
        """
        figures = {name: float(trainer.callback_metrics[name]) for name in FIGURES if name in trainer.callback_metrics}
        epoch = trainer.current_epoch + 1
        rate = max(group["lr"] for group in trainer.optimizers[0].param_groups)
        if figures["train_loss"] - figures["train_loss"] != 0:
            raise TransferkitError(
                f"The training loss is {figures['train_loss']} in epoch {epoch}: lower the learning rates "
                "(optimizer.lr of a pretraining; optimizer.lr_scale of a strategy)."
            )
        self.rows.append({"epoch": epoch, "lr": rate, **figures, **rates_by_stage(trainer.optimizers[0])})
        if not trainer.is_global_zero:
            return
        if self._log_epoch:
            self._log_epoch(self.rows[-1])
        done = f"Epoch {epoch} of {trainer.max_epochs}: training loss {figures['train_loss']:.3f}"
        seen = f", val loss {figures['val_loss']:.3f}"
        seen += f", val top-1 {100 * figures['val_top1']:.1f} %" if "val_top1" in figures else ""
        log.info("%s", done + (seen if self._held_out else ""))

    def state_dict(self) -> dict[str, Any]:
        """The rows, for the checkpoint."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the rows from the checkpoint."""
        self.rows = list(state_dict["rows"])


def rates_by_stage(optimizer: Optimizer) -> dict[str, float]:
    """Return `lr_STAGE` of every stage that is trained (of its uppermost layer), from the groups named after them."""
    rates: dict[str, float] = {}
    for group in optimizer.param_groups:
        name, rate = str(group.get("name", "")).split(",")[0], float(group["lr"])
        if name:
            rates[f"lr_{name}"] = max(rate, rates.get(f"lr_{name}", 0.0))
    return rates


class StopAfter(Callback):  # type: ignore[misc]
    """Ends a fit after some of its epochs, at the rates of the whole schedule."""

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop if it was the last epoch wanted."""
        if trainer.current_epoch + 1 >= self._epochs:
            trainer.should_stop = True


class ValCourse(Callback):  # type: ignore[misc]
    """Collects the probabilities of val after every epoch; stored in checkpoints.

    Attributes:
        epochs: Of each epoch, probabilities (N, K) that `validation_step` returned.
    """

    def __init__(self) -> None:
        self.epochs: list[Tensor] = []
        self._parts: list[Tensor] = []

    def on_validation_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, *args: Any) -> None:
        """Collect a batch."""
        self._parts.append(outputs)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the batches together, those of all processes, which take the images in turns."""
        mine, self._parts = torch.cat(self._parts), []
        if trainer.world_size > 1:
            size = len(trainer.datamodule.val)
            padded = mine.new_zeros(-(-size // trainer.world_size), mine.shape[1])
            padded[: len(mine)] = mine
            mine = pl_module.all_gather(padded).transpose(0, 1).flatten(0, 1)[:size]
        self.epochs.append(mine.cpu())

    def state_dict(self) -> dict[str, Any]:
        """The probabilities, for the checkpoint."""
        return {"epochs": self.epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore them from the checkpoint."""
        self.epochs = list(state_dict["epochs"])


class EpochProgress(Callback):  # type: ignore[misc]
    """Shows the progress of each epoch."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._advance: Advance = lambda count: None

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        EpochProgress.__init__(self)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start to show the progress."""
        if trainer.is_global_zero:
            label = f"Epoch {trainer.current_epoch + 1} of {trainer.max_epochs}"
            self._advance = self._open.enter_context(progress(label, int(trainer.num_training_batches)))

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Show one more step."""
        self._advance(1)

    def on_exception(self, *args: Any, **kwargs: Any) -> None:
        """Release the terminal."""
        self._open.close()

    def on_train_epoch_end(self, *args: Any, **kwargs: Any) -> None:
        """The bar is complete."""
        self._open.close()


class ValidationSums:
    """Loss and top-1 accuracy over a whole split, independent of batches and processes.

    Args:
        target: Says which loss, and whether there is such an accuracy.
    """

    def __init__(self, target: Target | None = None) -> None:
        self.target = target or ClassTarget(())
        self.sums: Tensor | None = None

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Count a batch: logits (n, K), labels (n,)."""
        loss, right = self.target.sums(logits, labels)
        new = loss.new_tensor([loss, right, len(labels)])
        self.sums = new if self.sums is None else self.sums + new

    def log_to(self, module: pl.LightningModule) -> None:
        """Log `val_loss`, of classes `val_top1`, and `val_score` over all processes, and reset."""
        if self.sums is None:
            return
        loss, right, n = module.all_gather(self.sums).reshape(-1, 3).sum(0).tolist()
        self.sums = None
        module.log("val_loss", loss / n, prog_bar=True)
        if self.target.soft_max:
            module.log("val_top1", right / n, prog_bar=True)
        module.log("val_score", score(right / n, loss / n, int(n)))
