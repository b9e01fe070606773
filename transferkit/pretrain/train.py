"""Pretraining: a backbone and a linear head from random weights, the best epoch chosen on val."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from torch import nn

from transferkit.backbones.backbone import Backbone
from transferkit.data.imagedata import ImageData
from transferkit.model import TransferModel
from transferkit.pretrain.module import PretrainModule
from transferkit.pretrain.recipe import Recipe
from transferkit.progress import Advance, progress

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pretrained:
    """A trained network.

    Attributes:
        model: With the weights of the best epoch, in eval mode, on the CPU.
        history: One row an epoch: `epoch`, `lr`, `train_loss`, `val_loss`, `val_top1`.
        best_epoch: Counted from 1: the one with the highest top-1 accuracy on val.
    """

    model: TransferModel
    history: list[dict[str, float]]
    best_epoch: int


def pretrain(backbone: Backbone, data: ImageData, recipe: Recipe, run_dir: Path) -> Pretrained:
    """Train all weights of `backbone` up to its top stage, and a linear head on the pooled features.

    A checkpoint is written after every epoch; when `run_dir` holds one, the training goes on from there, with the same
    result as if it had not stopped.

    Args:
        backbone: Its own weights are where the training starts; random ones are expected.
        data: Fitted to train; the best epoch is chosen on val; test is not looked at.
        recipe: How.
        run_dir: Gets `checkpoints/`.

    Raises:
        TransferkitError: The recipe cannot be used, or `run_dir` holds checkpoints of another one, or the loss is
            no longer finite.
    """
    channels = backbone.infos[backbone.top].channels
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        head = nn.Linear(channels, len(data.class_names))
    model = TransferModel(backbone.truncate(backbone.top), head, data.class_names)
    model = model.requires_grad_(True).to(memory_format=torch.channels_last).train()
    module = PretrainModule(model, data, recipe)
    keeper = ModelCheckpoint(
        run_dir / "checkpoints",
        filename="best",
        monitor="val_top1",
        mode="max",
        save_last=True,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
    last = run_dir / "checkpoints" / "last.ckpt"
    if last.is_file():
        log.info("Going on from %s.", last)
    with _quiet_lightning():
        trainer = _trainer(recipe, run_dir, [keeper, EpochProgress()])
        try:
            trainer.fit(module, ckpt_path=last if last.is_file() else None, weights_only=True)
        except SystemExit:  # what Lightning makes of Ctrl-C
            raise KeyboardInterrupt from None
    best = torch.load(run_dir / "checkpoints" / "best.ckpt", map_location="cpu", weights_only=True)
    module.load_state_dict(best["state_dict"])
    trained: Any = model.cpu().to(memory_format=torch.contiguous_format)
    return Pretrained(trained.eval(), module.history, int(best["history"][-1]["epoch"]))


class EpochProgress(Callback):  # type: ignore[misc]
    """The progress of each epoch, and one line in the log after it."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._advance: Advance = lambda count: None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to show the progress."""
        label = f"Epoch {trainer.current_epoch + 1} of {trainer.max_epochs}"
        self._advance = self._open.enter_context(progress(label, int(trainer.num_training_batches)))

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Show one more step."""
        self._advance(1)

    def on_exception(self, *args: Any, **kwargs: Any) -> None:
        """Give the terminal back."""
        self._open.close()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the figures of the epoch."""
        self._open.close()
        figures = trainer.callback_metrics
        log.info(
            "Epoch %d of %d: training loss %.3f, val loss %.3f, val top-1 %.1f %%",
            trainer.current_epoch + 1,
            trainer.max_epochs,
            figures["train_loss"],
            figures["val_loss"],
            100 * figures["val_top1"],
        )


def _trainer(recipe: Recipe, run_dir: Path, callbacks: list[Callback]) -> pl.Trainer:
    return pl.Trainer(
        default_root_dir=run_dir,
        accelerator=recipe.device,
        devices=1,
        max_epochs=recipe.epochs,
        callbacks=callbacks,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
        num_sanity_val_steps=0,
        reload_dataloaders_every_n_epochs=1,
        deterministic="warn",
    )


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Keep Lightning's advertisements and its advice about loaders out of the log."""
    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="pytorch_lightning")
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            yield
    finally:
        logger.setLevel(level)
