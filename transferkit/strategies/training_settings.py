"""Training settings from the configuration, and the recipe that a resumed checkpoint must match."""

from typing import Any

from transferkit.config.ensemble_use import SNAPSHOTS
from transferkit.device import run_place
from transferkit.strategies.context import Context
from transferkit.training.plan import Plan
from transferkit.training.run_phase import TrainSettings


def train_settings(context: Context, plan: Plan, epochs: int) -> TrainSettings:
    """Return the trainer's settings for one fit of a plan."""
    trainer = context.settings["trainer"]
    return TrainSettings(
        epochs=epochs,
        seed=context.seed,
        device=trainer["device"],
        devices=trainer["devices"],
        gradient_clip=plan.gradient_clip,
        accumulate=plan.accumulate,
        ema=plan.ema,
        swa_start=plan.swa["start"],
        early_stopping=plan.early_stopping,
        precision=run_place(context.settings)[1],
        snapshots=context.settings.get("ensemble") == SNAPSHOTS,
        logger=context.logger,
    )


def plan_recipe(context: Context, plan: Plan) -> dict[str, Any]:
    """Return everything that determines the result of a plan, compared when a run is resumed."""
    settings = context.settings
    groups = {name: settings[name] for name in ("augment", "backbone", "dataset", "selection", "seed")}
    return {"strategy": plan.to_mapping(), **groups, "trainer": {"precision": run_place(settings)[1]}}
