"""Pretraining: a backbone and a linear head trained from their present weights, as a plan with a single phase."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from transferkit.models.transfer_model import TransferModel
from transferkit.strategies.context import Context
from transferkit.strategies.phases import phase_batches
from transferkit.strategies.start_module import initialise_model
from transferkit.strategies.training_settings import plan_recipe, train_settings
from transferkit.training.finetune_module import FinetuneModule
from transferkit.training.plan import Phase, Plan
from transferkit.training.run_phase import check_recipe, fit_module


@dataclass(frozen=True)
class Pretrained:
    """A trained network.

    Attributes:
        model: With the weights of the best epoch, in eval mode, on the CPU.
        history: One row per epoch: `epoch`, `lr`, `train_loss`, `val_loss`, `val_top1`.
        best_epoch: Counted from 1: the one with the highest top-1 accuracy on val.
    """

    model: TransferModel
    history: list[dict[str, float]]
    best_epoch: int


def pretrain_plan(settings: Mapping[str, Any]) -> Plan:
    """The plan that the `task`, `optimizer` and `schedule` groups of a pretraining describe."""
    task, optimizer = settings["task"], settings["optimizer"]
    return Plan(
        name="pretrain",
        phases=(Phase("all", {"*": optimizer["lr"]}, task["epochs"]),),
        init="random",
        head="random",
        network_init=task["network_init"],
        init_value=task["init_value"],
        batch_norm="batch",
        optimizer={key: value for key, value in optimizer.items() if key not in ("lr", "lr_scale")},
        schedule=settings["schedule"],
        label_smoothing=task["label_smoothing"],
        gradient_clip=None,
        batch_size=settings["trainer"]["batch_size"],
    )


def pretrain(context: Context) -> Pretrained:
    """Train all weights of the backbone up to its top stage, and a linear head on the pooled features.

    A checkpoint is written after every epoch; if the run directory has one, the training resumes from it, with the
    same result as without the interruption.

    Args:
        context: Its backbone is trained in place; random weights are expected. The best epoch is selected on val; test
            is not used.

    Raises:
        TransferkitError: The settings cannot be used, or the run directory holds checkpoints of other ones, or the loss
            is no longer finite.
    """
    data, plan = context.data, pretrain_plan(context.settings)
    folder = context.run_dir / "checkpoints"
    check_recipe(folder, plan_recipe(context, plan))
    with torch.random.fork_rng():
        torch.manual_seed(context.seed)
        module = FinetuneModule(context.backbone, len(data.class_names), plan, class_names=data.class_names)
    initialise_model(context, plan, module.model)
    trained = fit_module(
        module, phase_batches(module, context, 0).data, train_settings(context, plan, plan.phases[0].epochs), folder
    )
    return Pretrained(module.model, trained.history, trained.best_epoch)
