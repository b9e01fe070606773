"""Learning-rate schedules that end the same whether or not a fit was interrupted."""

import math
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from transferkit.errors import TransferkitError
from transferkit.optim import create_schedule


class ScheduledModule(pl.LightningModule):  # type: ignore[misc]
    """A Lightning module whose schedule is one of ours.

    Lightning would advance a schedule that goes by epochs after the epoch's checkpoint is written, which then lacks
    that step when the fit is resumed. Here it is done before.
    """

    def with_schedule(self, optimizer: Optimizer, settings: Mapping[str, Any]) -> dict[str, Any]:
        """What `configure_optimizers` returns: the optimizer, and its schedule over all steps of the trainer.

        Raises:
            TransferkitError: The trainer has no end.
        """
        steps = self.trainer.estimated_stepping_batches
        if steps == math.inf:
            raise TransferkitError("The schedule needs the number of steps: give the Trainer max_epochs or max_steps.")
        epochs = max(self.trainer.max_epochs or 1, 1)
        schedule = create_schedule(optimizer, settings, epochs, max(round(steps / epochs), 1))
        return {"optimizer": optimizer} | ({"lr_scheduler": schedule} if schedule else {})

    def on_train_epoch_end(self) -> None:
        """Advance a schedule that follows the loss on val."""
        schedule = self.lr_schedulers()
        if isinstance(schedule, ReduceLROnPlateau):
            schedule.step(self.trainer.callback_metrics["val_loss"])

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Advance a schedule that goes by steps."""
        if not isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step()
