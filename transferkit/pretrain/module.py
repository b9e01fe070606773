"""Training from scratch as Lightning sees it."""

from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import DataLoader

from transferkit.augment import create_augment
from transferkit.data.imagedata import ImageData
from transferkit.errors import TransferkitError
from transferkit.model import TransferModel
from transferkit.optim import create_optimizer, create_schedule
from transferkit.pretrain.batches import TrainingImages, seed_step, training_loader
from transferkit.pretrain.recipe import Recipe


class PretrainModule(pl.LightningModule):  # type: ignore[misc]
    """All of a model's weights, trained with cross entropy.

    Checkpoints hold plain containers and tensors only. They carry the recipe, and refuse another one.

    Args:
        model: What is trained.
        data: Its train and val splits.
        recipe: How.

    Attributes:
        history: One row an epoch: `epoch`, `lr`, `train_loss`, `val_loss`, `val_top1`.
    """

    def __init__(self, model: TransferModel, data: ImageData, recipe: Recipe) -> None:
        super().__init__()
        self.model = model
        self.data = data
        self.recipe = recipe
        self.history: list[dict[str, float]] = []

    def train_dataloader(self) -> DataLoader[Any]:
        """The batches of the current epoch; Lightning asks anew for each."""
        recipe, preprocess = self.recipe, self.model.preprocess
        augment = create_augment(recipe.augment["transforms"], preprocess)
        images = TrainingImages(self.data.train, preprocess, augment, recipe.seed, self.trainer.current_epoch)
        return training_loader(images, recipe.batch_size, recipe.num_workers)

    def val_dataloader(self) -> DataLoader[Any]:
        """The val split, in order."""
        images = TrainingImages(self.data.val, self.model.preprocess)
        return DataLoader(images, self.recipe.batch_size, num_workers=self.recipe.num_workers)

    def configure_optimizers(self) -> dict[str, Any]:
        """Build the optimizer and the schedule that the recipe names."""
        optimizer = create_optimizer(self.model, self.recipe.optimizer)
        steps = max(len(self.data.train) // self.recipe.batch_size, 1)
        schedule = create_schedule(optimizer, self.recipe.schedule, self.recipe.epochs, steps)
        return {"optimizer": optimizer} | ({"lr_scheduler": schedule} if schedule else {})

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Start the step's random numbers."""
        seed_step(self.recipe.seed, self.global_step)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Cross entropy of one batch."""
        images, labels = batch
        logits = self.model(images.contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(labels))
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Loss and top-1 accuracy of one batch of val."""
        images, labels = batch
        logits = self.model(images.contiguous(memory_format=torch.channels_last))
        self.log("val_loss", F.cross_entropy(logits, labels), batch_size=len(labels), prog_bar=True)
        self.log("val_top1", (logits.argmax(1) == labels).float().mean(), batch_size=len(labels), prog_bar=True)

    def on_train_epoch_end(self) -> None:
        """Add the epoch to the history."""
        figures = {name: float(self.trainer.callback_metrics[name]) for name in ("train_loss", "val_loss", "val_top1")}
        if not torch.tensor(figures["train_loss"]).isfinite():
            raise TransferkitError(
                f"The training loss is {figures['train_loss']} in epoch {self.current_epoch + 1}: "
                f"lower optimizer.lr (now {self.recipe.optimizer.get('lr')})."
            )
        rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        self.history.append({"epoch": self.current_epoch + 1, "lr": rate, **figures})
        schedule = self.lr_schedulers()
        if isinstance(schedule, ReduceLROnPlateau):
            schedule.step(figures["val_loss"])

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Advance a schedule that goes by steps."""
        # Lightning would advance the one that goes by epochs after the epoch's checkpoint is written, which then lacks
        # that step when the training is resumed.
        if not isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the recipe and the history."""
        checkpoint["recipe"] = self.recipe.to_json()
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up the history.

        Raises:
            TransferkitError: The checkpoint was made with another recipe.
        """
        differences = self.recipe.differences(checkpoint["recipe"])
        if differences:
            raise TransferkitError(
                f"The run directory holds checkpoints of another pretraining: {'; '.join(differences)}. "
                "Repeat that command to go on with it, or choose another hydra.run.dir."
            )
        self.history = list(checkpoint["history"])
