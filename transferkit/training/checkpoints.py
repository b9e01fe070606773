"""Checkpoints without frozen weights, written as often as takes a small fraction of the time."""

import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor

from transferkit.errors import TransferkitError
from transferkit.files import new_file
from transferkit.training.checkpoint_files import CheckpointFiles

SHARE = 50
"""A checkpoint is written when training has taken this many times as long as writing the previous one."""

_STATES = ("state_dict", "current_model_state")  # the latter with a moving average of the weights
_BEST = ("state_dict", "epoch", "frozen")
_TO_GO_ON = ("optimizer_states", "lr_schedulers", "loops", "current_model_state")


class TrainedOnly(TorchCheckpointIO):  # type: ignore[misc]
    """Writes trained weights only; frozen weights come from their original source.

    Lightning's two callbacks save `best` and `last`; both go into `files`, as generations. `best` holds weights only,
    and is written together with the next `last`: until then the best weights stay in memory, since a killed run reaches
    them again. A checksum of the frozen weights shows whether they are still the same.

    Args:
        frozen: The frozen entries of the module's state dict.
        files: The files of the fit.

    Attributes:
        ended: Whether training is over, so that the state for resuming is not written.
    """

    def __init__(self, frozen: Mapping[str, Tensor], files: CheckpointFiles) -> None:
        self.frozen = frozen
        self.files = files
        self.checksum = checksum(frozen)
        self.ended = False
        self._waiting: dict[str, Any] | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write Lightning's `last`, and the `best` before it."""
        kept = {**checkpoint, "frozen": self.checksum, "ended": self.ended}
        for name in _STATES:
            if name in kept:
                kept[name] = {key: value for key, value in kept[name].items() if key not in self.frozen}
        if Path(path).stem == "best":
            copied = {name: value.detach().to("cpu", copy=True) for name, value in kept["state_dict"].items()}
            self._waiting = {**{name: kept[name] for name in _BEST}, "state_dict": copied}
            return
        if self.ended:
            kept = {name: value for name, value in kept.items() if name not in _TO_GO_ON}
        if Path(path).stem != "last":  # Lightning's transfer from a process that it started to this one
            with new_file(Path(path)) as temporary:
                torch.save(kept, temporary)
            return
        self.files.write({"last": kept, **({"best": self._waiting} if self._waiting else {})})
        self._waiting = None

    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Read, and add the frozen weights."""
        checkpoint: dict[str, Any] = super().load_checkpoint(path, *args, **kwargs)
        for name in _STATES:
            if name in checkpoint:
                checkpoint[name] = self.completed(checkpoint, path, name)
        return checkpoint

    def completed(self, checkpoint: Mapping[str, Any], path: Any, name: str = "state_dict") -> dict[str, Tensor]:
        """The trained weights of a checkpoint, and the frozen ones.

        Raises:
            TransferkitError: The frozen weights differ from those of the checkpoint.
        """
        if checkpoint["frozen"] != self.checksum:
            raise TransferkitError(
                f"{path} goes with other frozen weights than these: where they came from (backbone.weights) has "
                "changed since. Choose another hydra.run.dir to start anew."
            )
        return {**self.frozen, **checkpoint[name]}


def checksum(tensors: Mapping[str, Tensor]) -> int:
    """CRC-32 of names and values."""
    crc = 0
    for name, value in tensors.items():
        content = value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data
        crc = zlib.crc32(content, zlib.crc32(name.encode(), crc))
    return crc


class LastCheckpoint(ModelCheckpoint):  # type: ignore[misc]
    """A checkpoint for resuming: after the first epoch, the last one, and in between as often as takes little time.

    A killed run repeats the epochs since the last one, with the same result.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "last", save_on_train_epoch_end=True, enable_version_counter=False)
        self._due = 0.0

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write it when it is due."""
        start = time.monotonic()
        ends = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        if not trainer.strategy.broadcast(ends or start >= self._due):
            return
        trainer.strategy.checkpoint_io.ended = ends
        super().on_train_epoch_end(trainer, pl_module)
        end = time.monotonic()
        self._due = end + SHARE * (end - start)
