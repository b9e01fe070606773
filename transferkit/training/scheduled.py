"""Base of the Lightning modules: schedules that resume exactly, and optimized frozen stages."""

import math
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from transferkit.backbones.backbone import Backbone
from transferkit.errors import TransferkitError
from transferkit.features.frozen_network import FrozenStages
from transferkit.training.optimizers import create_schedule

LIGHTNING_PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
"""Lightning's name of each precision that `find_precision` returns."""


class ScheduledModule(pl.LightningModule):  # type: ignore[misc]
    """A Lightning module with a schedule of `optimizers`.

    Lightning advances a schedule by epochs after the epoch's checkpoint is written, which then lacks that step when
    the fit is resumed. Here it is advanced before.

    Attributes:
        fast: During training, an optimized copy of the leading frozen stages.
    """

    fast: FrozenStages | None = None

    def frozen_backbone(self) -> Backbone | None:
        """The leading frozen stages, if any."""
        return None

    def on_train_start(self) -> None:
        """Create the optimized copy of the frozen stages."""
        frozen = self.frozen_backbone()
        if frozen is not None:
            ours = {theirs: name for name, theirs in LIGHTNING_PRECISION.items()}
            precision = ours.get(str(self.trainer.precision), "fp32")
            self.fast = FrozenStages(frozen, self.device, precision)

    def on_train_end(self) -> None:
        """Drop the copy, which is valid for the present weights only."""
        self.fast = None

    def frozen_keys(self) -> set[str]:
        """The entries of the state dict that no training step changes."""
        return set()

    def with_schedule(self, optimizer: Optimizer, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The result of `configure_optimizers`: the optimizer, and its schedule over all steps of the trainer.

        Raises:
            TransferkitError: The trainer has neither a number of epochs nor of steps.
        """
        steps = self.trainer.estimated_stepping_batches
        if steps == math.inf:
            raise TransferkitError("The schedule needs the number of steps: give the Trainer max_epochs or max_steps.")
        epochs = max(self.trainer.max_epochs or 1, 1)
        schedule = create_schedule(optimizer, settings, epochs, max(round(steps / epochs), 1))
        return {"optimizer": optimizer} | ({"lr_scheduler": schedule} if schedule else {})

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip as the trainer says. Lightning refuses fused optimizers in bf16 too, where nothing is scaled."""
        if gradient_clip_val and gradient_clip_algorithm != "value" and optimizer.param_groups[0].get("fused"):
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            nn.utils.clip_grad_norm_(parameters, float(gradient_clip_val))
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def on_train_epoch_end(self) -> None:
        """Advance a schedule that follows the loss on val."""
        schedule = self.lr_schedulers()
        if isinstance(schedule, ReduceLROnPlateau):
            schedule.step(self.trainer.callback_metrics["val_loss"])

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Advance a schedule by steps."""
        if not isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step()
