"""Base of the Lightning modules: schedules that resume exactly, and optimized frozen stages."""

import math
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.optim.swa_utils import SWALR

from transferkit.backbones.backbone import Backbone
from transferkit.errors import TransferkitError
from transferkit.features.frozen_network import FrozenStages
from transferkit.training.averaging import first_averaged
from transferkit.training.schedules import constant_end, create_schedules

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
    _rising = 0
    _averaged_from: int | None = None

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

    def with_schedule(
        self, optimizer: Optimizer, settings: Mapping[str, Any], swa: Mapping[str, Any] | None = None
    ) -> tuple[list[Optimizer], list[dict[str, Any]]]:
        """The result of `configure_optimizers`: the optimizer, and its schedule over all steps of the trainer.

        Args:
            optimizer: Its groups have the full rates.
            settings: Of the schedule (`create_schedules`).
            swa: `start` and `lr` of a plan's `swa`; with a start, the schedule ends in constant rates.

        Raises:
            TransferkitError: The trainer has neither a number of epochs nor of steps.
        """
        epochs, each = self.epochs_and_steps()
        schedules = create_schedules(optimizer, settings, epochs, each)
        self._rising, self._averaged_from = round(settings.get("warmup", 0) * epochs * each), None
        if swa and swa["start"] is not None:
            self._averaged_from = first_averaged(swa["start"], epochs) * each
            schedules.append(constant_end(optimizer, swa["lr"], each))
        return [optimizer], schedules

    def epochs_and_steps(self) -> tuple[int, int]:
        """Epochs of the trainer, and optimizer steps in each.

        Raises:
            TransferkitError: The trainer has neither a number of epochs nor of steps.
        """
        steps = self.trainer.estimated_stepping_batches
        if steps == math.inf:
            raise TransferkitError("The schedule needs the number of steps: give the Trainer max_epochs or max_steps.")
        epochs = max(self.trainer.max_epochs or 1, 1)
        return epochs, max(round(steps / epochs), 1)

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
        """Advance a schedule that follows the loss on val, once its warm-up is over."""
        found = self.lr_schedulers()
        for schedule in found if isinstance(found, list) else [found]:
            warm = self.trainer.global_step > self._rising and not self._averages()
            if isinstance(schedule, ReduceLROnPlateau) and warm:
                schedule.step(self.trainer.callback_metrics["val_loss"])

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Advance a schedule by steps: the constant end of averaged weights, or that before it."""
        if not isinstance(scheduler, ReduceLROnPlateau) and isinstance(scheduler, SWALR) == self._averages():
            scheduler.step()

    def _averages(self) -> bool:
        """Whether the steps are those whose weights are averaged."""
        return self._averaged_from is not None and self.trainer.global_step > self._averaged_from
