"""Snapshots of one run: its weights at the end of each cycle of the learning rate (Huang et al. 2017, section 3)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from transferkit.errors import TransferkitError
from transferkit.training.checkpoint_files import CheckpointFiles, read_checkpoint
from transferkit.training.schedules import cycle_ends

KIND = "snapshot"


class Snapshots(Callback):  # type: ignore[misc]
    """Writes the trained weights at the end of each cycle of `schedule=cosine_restarts`.

    A run that is resumed from a checkpoint before such an end writes the same weights again.

    Args:
        folder: Gets a folder for each of them: 1, 2, ...
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ends: dict[int, int] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Find the last step of each cycle."""
        ends = cycle_ends(pl_module.plan.schedule, *pl_module.epochs_and_steps())
        self._ends = {step: number for number, step in enumerate(ends, start=1)}

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *args: Any) -> None:
        """Write the weights after the last step of a cycle, once where several batches make a step."""
        number = self._ends.pop(trainer.global_step, None)
        if number is None or not trainer.is_global_zero:
            return
        frozen = pl_module.frozen_keys()
        state = {name: value.detach().cpu() for name, value in pl_module.state_dict().items() if name not in frozen}
        CheckpointFiles(self._folder / str(number)).write({KIND: {"state_dict": state}}, alone=True)


def read_snapshots(folder: Path) -> Iterator[dict[str, Tensor]]:
    """Yield the trained weights of each snapshot, in order.

    Raises:
        TransferkitError: There are none, or one is damaged.
    """
    numbers = sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal()) if folder.is_dir() else []
    if not numbers:
        raise TransferkitError(
            f"{folder} holds no snapshots: the training there was of another kind. Choose another hydra.run.dir."
        )
    for number in numbers:
        found = CheckpointFiles(folder / str(number)).newest()
        if KIND not in found:
            raise TransferkitError(f"The snapshot {folder / str(number)} is damaged: choose another hydra.run.dir.")
        yield read_checkpoint(found[KIND])["state_dict"]
