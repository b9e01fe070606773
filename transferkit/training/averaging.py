"""Averages of the weights in the course of a fit: exponential, and stochastic weight averaging (SWA)."""

from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor, nn
from torch.optim.swa_utils import get_swa_avg_fn, update_bn


def exponential_average(decay: float) -> WeightAveraging:
    """The callback that updates a moving average after every step; it is validated and saved."""
    return WeightAveraging(avg_fn=partial(moving_average, decay))


def moving_average(decay: float, average: Tensor, now: Tensor, count: Any = None) -> Tensor:
    """Update the moving average; unchanged weights stay bit-identical, counters are copied."""
    return torch.lerp(average, now, 1 - decay) if now.is_floating_point() else now


def equal_average(average: Tensor, now: Tensor, count: Any) -> Tensor:
    """Update the mean of `count` weights with one more; unchanged weights stay bit-identical, counters are copied."""
    if not now.is_floating_point():
        return now
    mean: Tensor = get_swa_avg_fn()(average, now, count)  # type: ignore[no-untyped-call]
    return mean


def first_averaged(start: float, epochs: int) -> int:
    """The first epoch, from 0, whose weights are averaged: after a fraction `start` of all, at the latest the last."""
    return min(int(start * epochs), epochs - 1)


class StochasticAverage(WeightAveraging):  # type: ignore[misc]
    """The mean of the weights at the end of every epoch from `first` on (Izmailov et al. 2018, algorithm 1).

    It is validated and saved; in the epochs before, the weights themselves are. Batch norm that trains on the
    statistics of batches gets those of the averaged weights, from a pass over train, before each validation.

    Args:
        first: Epoch, from 0.
    """

    def __init__(self, first: int) -> None:
        super().__init__(avg_fn=equal_average)
        self._first = first

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take the weights at the end of an epoch, before it is validated, into the average."""
        if not trainer.is_last_batch:
            return
        assert self._average_model is not None
        if trainer.current_epoch >= self._first:
            self._average_model.update_parameters(pl_module)
        else:
            self._average_model.module.load_state_dict(pl_module.state_dict())

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Nothing: the epoch's weights have been taken before it was validated."""

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Let the average be validated, with statistics of its own."""
        super().on_validation_epoch_start(trainer, pl_module)
        stages = _batch_normalised(pl_module) if trainer.current_epoch >= self._first else []
        if stages:
            update_bn(trainer.train_dataloader, _Stages(stages, pl_module).eval(), pl_module.device)


def _batch_normalised(module: Any) -> list[nn.Module]:
    """The trained stages of a `FinetuneModule` if their batch norm uses the statistics of batches."""
    return [] if module.plan.batch_norm == "running" else [module.named_stages[name] for name in module.rates]


class _Stages(nn.Module):
    """Trained stages as the whole of a network, so that `update_bn` leaves frozen ones alone."""

    def __init__(self, stages: list[nn.Module], module: Any) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self._run = module.batch_logits

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self._run(inputs)
        return logits
