"""Linear probes trained by gradient, for augmented images and for features too large to cache."""

import copy
import logging
from collections.abc import Mapping
from typing import Any

from transferkit.backbones.backbone import Backbone
from transferkit.device import run_place
from transferkit.folds import cross_validates
from transferkit.models.protocols import center_probabilities
from transferkit.strategies.context import Context
from transferkit.strategies.fitted import Fitted
from transferkit.strategies.frozen_features import chosen_pool, probe_stages
from transferkit.strategies.phase_data import make_batches
from transferkit.training.plan import Phase
from transferkit.training.probe_module import ProbeModule
from transferkit.training.run_phase import TrainSettings, check_recipe, fit_module

log = logging.getLogger(__name__)


def fit_gradient_probe(context: Context) -> Fitted:
    """Train the probes of all requested stages on one forward pass per batch; select the best on val.

    A checkpoint is written after every epoch; if the run directory has one, the training resumes from it.

    Raises:
        TransferkitError: A setting cannot be used, or the run directory holds checkpoints of another training.
    """
    data, strategy, trainer = context.data, context.strategy, context.settings["trainer"]
    gradient = _gradient(strategy)
    if cross_validates(context.settings["selection"], len(data.val)):
        log.warning(
            "The gradient solver chooses stage and C on the %d images of val, which are few; strategy.solver=exact "
            "cross-validates.",
            len(data.val),
        )
    backbone = copy.deepcopy(context.backbone)
    module = _create_module(context, backbone, gradient)
    folder = context.run_dir / "checkpoints"
    check_recipe(folder, _recipe(context))
    run = TrainSettings(
        gradient["epochs"],
        context.seed,
        trainer["device"],
        trainer["devices"],
        precision=run_place(context.settings)[1],
        keep="last",  # not the best: the objective is convex, so more training is closer to its minimum
    )
    with context.timer.step("fit"):
        phase = Phase("probe", {"head": gradient["lr"]}, gradient["epochs"], gradient["min_steps"])
        batches = make_batches(context, backbone, phase, trainer["batch_size"], seed=context.seed).data
        trained = fit_module(module, batches, run, folder)
    for name in module.probes:
        row = module.best_row(name)
        log.info("Probe of %s: C = %.3g, top-1 on val %.1f %%.", name, row["C"], 100 * row["val_top1"])
    best, _ = module.best
    if len(module.probes) > 1:
        log.info("Selected on val: %s.", best)
    model = module.model().requires_grad_(True)
    with context.timer.step("extract"):
        val = center_probabilities(model, data.val, context.extract)
    return Fitted(
        model=model,
        val=val,
        trainable_parameters=sum(p.numel() for p in model.head.parameters()),
        stages={name: {**module.best_row(name), "features": heads.in_features} for name, heads in module.heads.items()},
        sweep=module.figures,
        history=[{"phase": "probe", **row} for row in trained.history],
        details={"stage": best, "solver": "gradient", "pool": module.pool},
    )


def _gradient(strategy: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the training; a list `strategy.probe.Cs` applies to both solvers."""
    given, Cs = strategy["gradient"], strategy["probe"]["Cs"]
    return {**given, "Cs": list(given["Cs"] if isinstance(Cs, int) else Cs)}


def _create_module(context: Context, backbone: Backbone, gradient: Mapping[str, Any]) -> ProbeModule:
    settings, strategy = context.settings, context.strategy
    # Without the group's weight decay, which would add to the penalty of C, and its rate, which is for pretraining.
    optimizer = {key: value for key, value in settings["optimizer"].items() if key not in ("lr", "weight_decay")}
    optimizer["lr"] = gradient["lr"] * float(optimizer.get("lr_scale", 1.0))
    return ProbeModule(
        backbone,
        len(context.data.class_names),
        probe_stages(backbone, strategy),
        pool=chosen_pool(context.backbone, strategy),
        Cs=gradient["Cs"],
        combine=strategy.get("combine", "best"),
        num_images=len(context.data.train),
        optimizer={"weight_decay": 0.0, **optimizer} if optimizer["name"] == "adamw" else optimizer,
        schedule=settings["schedule"],
        class_names=context.data.class_names,
    )


def _recipe(context: Context) -> dict[str, Any]:
    """Everything that determines the result, compared when a run is resumed."""
    settings = context.settings
    names = ("strategy", "augment", "optimizer", "schedule", "backbone", "dataset", "seed")
    trainer = {"batch_size": settings["trainer"]["batch_size"], "precision": run_place(settings)[1]}
    return {**{name: settings[name] for name in names}, "trainer": trainer}
