"""Linear probes trained by gradient, for augmented images and for features too large to cache."""

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from transferkit.arrays import Probabilities
from transferkit.backbones.backbone import Backbone
from transferkit.device import run_place
from transferkit.folds import Fold
from transferkit.models.protocols import center_probabilities
from transferkit.models.transfer_model import TransferModel
from transferkit.ranking import best_stage, row_rank
from transferkit.strategies.context import Context
from transferkit.strategies.fitted import Fitted, OutOfFold
from transferkit.strategies.fold_fits import fold_data, training_folds, whole_data
from transferkit.strategies.frozen_features import chosen_pool, probe_stages
from transferkit.strategies.phase_data import make_batches
from transferkit.training.plan import Phase
from transferkit.training.probe_module import ProbeModule
from transferkit.training.run_phase import TrainSettings, check_recipe, fit_module

log = logging.getLogger(__name__)


def fit_gradient_probe(context: Context) -> Fitted:
    """Train the probes of all requested stages on one forward pass per batch; select the best.

    With many images of val (`selection`), val selects. With few, the probes are trained in folds of train and val
    (`selection.finetune_folds`) to select stage and C, and then once on both. A checkpoint is written after every
    epoch; if the run directory has one, the training resumes from it.

    Raises:
        TransferkitError: A setting cannot be used, or the run directory holds checkpoints of another training.
    """
    check_recipe(context.run_dir / "checkpoints", _recipe(context))
    folds = training_folds(context)
    if folds:
        return _fit_by_folds(context, folds)
    module, history = _train(context)
    for name in module.probes:
        row = module.best_row(name)
        log.info("Probe of %s: C = %.3g, top-1 on val %.1f %%.", name, row["C"], 100 * row["val_top1"])
    best, C = module.best
    if len(module.probes) > 1:
        log.info("Selected on val: %s.", best)
    model = module.model(best, C).requires_grad_(True)
    with context.timer.step("extract"):
        val = center_probabilities(model, context.data.val, context.extract)
    return _fitted(module, model, module.figures, history, val)


def _fit_by_folds(context: Context, folds: Sequence[Fold]) -> Fitted:
    """Select stage and C by the images held out, and train on all."""
    whole = whole_data(context.data)
    log.info(
        "val has %d images, too few to select on: the probes are trained in %d folds of train and val, and then on all "
        "%d images.",
        *(len(context.data.val), len(folds), len(whole.train)),
    )
    trained = []
    for number, fold in enumerate(folds):
        folder = context.run_dir / "folds" / str(number + 1)
        trained.append(_train(replace(context, data=fold_data(whole, fold), run_dir=folder))[0])
    figures = mean_figures([module.figures for module in trained], [len(held) for _, held in folds])
    best = best_stage({name: best_row(rows) for name, rows in figures.items()})
    C = best_row(figures[best])["C"]
    found = []
    for module, (_, held) in zip(trained, folds, strict=True):
        found.append(center_probabilities(module.model(best, C), whole.train.subset(held), context.extract))
    images = np.concatenate([held for _, held in folds])
    out_of_fold = OutOfFold.of(np.concatenate(found), images, whole.train.labels)
    log.info(
        "Selected by cross-validation of train and val, %d images: %s, C = %.3g; top-1 %.1f %%.",
        *(len(images), best, C, 100 * out_of_fold.metrics()["top1"]),
    )
    module, history = _train(replace(context, data=whole))
    # Val was fitted, too, so that its figures mean nothing.
    history = [{key: value for key, value in row.items() if not key.startswith("val_")} for row in history]
    model = module.model(best, C).requires_grad_(True)
    val = out_of_fold.rows(len(context.data.train), len(whole.train))
    fitted = _fitted(module, model, figures, history, val)
    selection = {"by": "cv", "images": len(images), "folds": len(folds), "repeats": 1}
    return replace(fitted, out_of_fold=out_of_fold, details={**fitted.details, "selection": selection})


def mean_figures(
    folds: Sequence[Mapping[str, Sequence[Mapping[str, float]]]], images: Sequence[int]
) -> dict[str, list[dict[str, float]]]:
    """Return the figures of every probe and C over all images that were held out.

    Args:
        folds: Those of `ProbeModule.figures` in each fold.
        images: Number of images held out in each.
    """
    found = {}
    for name, rows in folds[0].items():
        found[name] = [
            {
                key: row[key] if key == "C" else float(np.average([one[name][i][key] for one in folds], weights=images))
                for key in row
            }
            for i, row in enumerate(rows)
        ]
    return found


def best_row(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the row that ranks first (`ranking.rank`)."""
    best: Mapping[str, float] = max(rows, key=row_rank)
    return dict(best)


def _train(context: Context) -> tuple[ProbeModule, list[Mapping[str, Any]]]:
    """Train all probes on train; the history has a row an epoch."""
    trainer, gradient = context.settings["trainer"], _gradient(context.strategy)
    backbone = copy.deepcopy(context.backbone)
    module = _create_module(context, backbone, gradient)
    run = TrainSettings(
        gradient["epochs"],
        context.seed,
        trainer["device"],
        trainer["devices"],
        precision=run_place(context.settings)[1],
        logger=context.logger,
        keep="last",  # not the best: the objective is convex, so more training is closer to its minimum
    )
    with context.timer.step("fit"):
        phase = Phase("probe", {"head": gradient["lr"]}, gradient["epochs"], gradient["min_steps"])
        batches = make_batches(context, backbone, phase, trainer["batch_size"], seed=context.seed).data
        trained = fit_module(module, batches, run, context.run_dir / "checkpoints")
    return module, [{"phase": "probe", **row} for row in trained.history]


def _fitted(
    module: ProbeModule,
    model: TransferModel,
    figures: Mapping[str, Sequence[Mapping[str, float]]],
    history: Sequence[Mapping[str, Any]],
    val: Probabilities,
) -> Fitted:
    return Fitted(
        model=model,
        val=val,
        trainable_parameters=sum(p.numel() for p in model.head.parameters()),
        stages={
            name: {**best_row(figures[name]), "features": heads.in_features} for name, heads in module.heads.items()
        },
        sweep=figures,
        history=history,
        details={"stage": "+".join(model.stages), "solver": "gradient", "pool": module.pool},
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
