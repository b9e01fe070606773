"""Finetuning: a plan's phases, one fit each, every one starting from the best epoch of the one before."""

import copy
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor, nn

from transferkit.arrays import Probabilities
from transferkit.backbones.backbone import Backbone
from transferkit.backbones.create import create_backbone
from transferkit.data.imagedata import ImageData
from transferkit.data.sources.generated import mixed
from transferkit.device import autocast, run_place
from transferkit.errors import TransferkitError
from transferkit.features.from_settings import make_extractor
from transferkit.features.stored_inputs import StoredInputs
from transferkit.files import write_json
from transferkit.metrics import compute_metrics
from transferkit.models.center_crop import center_probabilities
from transferkit.strategies.context import Context
from transferkit.strategies.fitted import Fitted
from transferkit.strategies.frozen_features import extract_train_val
from transferkit.strategies.linear_probe import chosen_row, create_probe, probe_head, probe_path
from transferkit.strategies.phase_data import Batches, make_batches
from transferkit.training.callbacks import score
from transferkit.training.finetune_module import FinetuneModule
from transferkit.training.plan import Phase, Plan, plan_of
from transferkit.training.run_phase import Trained, TrainSettings, check_recipe, fit_module

log = logging.getLogger(__name__)

HEAD_CS = tuple(np.logspace(-6, -2, 17))
"""Values of C for the head that finetuning starts from. A head with less regularisation than that has no training loss
left, and so no gradient, on a few hundred images."""


def fit_finetune(context: Context) -> Fitted:
    """Run the phases of a plan.

    After each the best epoch on val is kept; the state before it counts as epoch 0, so a phase that only does harm is
    undone.
    """
    refuse_single_rate(context.settings)
    data, plan = context.data, plan_of(context.settings)
    check_recipe(context.run_dir / "checkpoints", recipe(context, plan))
    backbone = copy.deepcopy(context.backbone) if plan.init == "pretrained" else random_like(context)
    start = _probe(context, backbone) if plan.head == "probe" else _RANDOM
    with torch.random.fork_rng():
        torch.manual_seed(context.seed)
        module = FinetuneModule(
            backbone,
            len(data.class_names),
            plan,
            head=start.head,
            class_names=data.class_names,
            class_weights=class_weights(plan, data),
        )
    history: list[Mapping[str, Any]] = []
    phases: dict[str, Any] = {}
    # The probe has just asked for the same features.
    extract = context.extract if plan.init == "pretrained" else make_extractor(context.settings, keep=False)
    val = center_probabilities(module.model.eval(), data.val, extract)
    with context.timer.step("fit"):
        for number, phase in enumerate(plan.phases):
            val, rows, phases[phase.name] = _run_phase(module, phase, number, context, val)
            history += rows
    return Fitted(
        model=module.model.requires_grad_(True).eval(),
        val=val,
        trainable_parameters=max(figures["trainable_parameters"] for figures in phases.values()),
        stages=start.stages,
        sweep=start.sweep,
        history=history,
        details={"stage": backbone.top, "precision": run_place(context.settings)[1], "phases": phases},
        backbone_trained=True,
    )


def _run_phase(
    module: FinetuneModule, phase: Phase, number: int, context: Context, before: Probabilities
) -> tuple[Probabilities, list[Mapping[str, Any]], dict[str, Any]]:
    """Fit one phase; returns val's probabilities after it, its history, and what metrics.json says of it."""
    module.begin(phase.name)
    folder = context.run_dir / "checkpoints" / f"{number + 1}_{phase.name}"
    run = train_settings(context, module.plan, phase.epochs)
    rates = {name: rate * float(module.plan.optimizer.get("lr_scale", 1.0)) for name, rate in module.rates.items()}
    start = _trained_state(module)
    if (folder / "phase.json").is_file():
        log.info("Phase %s is done already.", phase.name)
        trained, after = fit_module(module, None, run, folder), np.load(folder / "val.npy")
    else:
        trained, after = _fit_phase(module, phase, number, context, run, rates, folder)
    seen = json.loads((folder / "phase.json").read_text(encoding="utf-8"))
    labels = context.data.val.labels
    kept = _score(after, labels) >= _score(before, labels)
    if not kept:
        log.info("Phase %s: no epoch was better on val than the state before it, which is kept.", phase.name)
        module.load_state_dict(start, strict=False)
    rows: list[Mapping[str, Any]] = [{"phase": phase.name, **row} for row in trained.history]
    figures = {
        "trained": rates,
        "epochs": len(trained.history),
        "best_epoch": trained.best_epoch if kept else 0,
        "steps": len(trained.history) * seen["steps_per_epoch"],
        "trainable_parameters": sum(p.numel() for p in module.parameters() if p.requires_grad),
        "prefix": seen["prefix"],
    }
    return (after if kept else before), rows, figures


def _fit_phase(
    module: FinetuneModule,
    phase: Phase,
    number: int,
    context: Context,
    run: TrainSettings,
    rates: Mapping[str, float],
    folder: Path,
) -> tuple[Trained, Probabilities]:
    """Fit the phase that the module has begun, and leave in `folder` what is needed to skip it."""
    batches = phase_batches(module, context, number)
    steps = batches.data.steps_per_epoch
    log.info(
        "Phase %s: %d epochs of %d steps, %s; trained: %s; frozen: %s.",
        *(phase.name, phase.epochs, steps, run.precision),
        ", ".join(f"{name} ({rate:.2g})" for name, rate in rates.items()),
        ", ".join(name for name in module.stage_names if name not in rates) or "nothing",
    )
    trained = fit_module(module, batches.data, run, folder)
    after = val_probabilities(module, batches.data.val, context)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "val.npy", after)
    write_json(folder / "phase.json", {"steps_per_epoch": steps, "prefix": batches.prefix})
    return trained, after


def _trained_state(module: FinetuneModule) -> dict[str, Tensor]:
    frozen = module.frozen_keys()
    return {name: value.clone() for name, value in module.state_dict().items() if name not in frozen}


def refuse_single_rate(settings: Mapping[str, Any]) -> None:
    """A plan has a rate for each stage, so `optimizer.lr` on the command line would do nothing.

    Raises:
        TransferkitError: It was given.
    """
    if any(override.lstrip("+").startswith("optimizer.lr=") for override in settings.get("overrides", ())):
        raise TransferkitError(
            "optimizer.lr is the rate of task=pretrain; a strategy has one for each stage: "
            "strategy.phases.NAME.train.STAGE, or optimizer.lr_scale to multiply all of them."
        )


def random_like(context: Context) -> Backbone:
    """The context's network with random weights."""
    given = context.backbone
    with torch.random.fork_rng():
        # Not the seed itself: embedded weights were trained from what seed 0 gives.
        torch.manual_seed(mixed(context.seed, 2))
        fresh = create_backbone(given.spec.name, None, given.spec.source, kwargs=given.spec.kwargs)
    fresh.preprocess = given.preprocess
    return fresh.truncate(given.stage_names[-1])


def class_weights(plan: Plan, data: ImageData) -> list[float] | None:
    """Factors (K,) of the loss."""
    if plan.class_weights == "none":
        return None
    classes = np.arange(len(data.class_names))
    weights: list[float] = compute_class_weight("balanced", classes=classes, y=data.train.labels).tolist()
    return weights


def train_settings(context: Context, plan: Plan, epochs: int) -> TrainSettings:
    """What the configuration says about running a fit."""
    trainer = context.settings["trainer"]
    return TrainSettings(
        epochs=epochs,
        seed=context.seed,
        device=trainer["device"],
        devices=trainer["devices"],
        gradient_clip=plan.gradient_clip,
        accumulate=plan.accumulate,
        ema=plan.ema,
        early_stopping=plan.early_stopping,
        precision=run_place(context.settings)[1],
    )


def recipe(context: Context, plan: Plan) -> dict[str, Any]:
    """All that decides the result, to be compared when a run is resumed."""
    settings = context.settings
    groups = {name: settings[name] for name in ("augment", "backbone", "dataset", "seed")}
    return {"strategy": plan.to_mapping(), **groups, "trainer": {"precision": run_place(settings)[1]}}


def phase_batches(module: FinetuneModule, context: Context, number: int) -> Batches:
    """Train and val batches of a phase, each phase in an order of its own."""
    plan = module.plan
    mixes = plan.mixup or plan.cutmix  # images are mixed, not what leaves a stage
    prefix = () if mixes else module.frozen_prefix
    changed = {name for phase in plan.phases[:number] for name in phase.rates(module.stage_names)}
    batches = make_batches(
        context,
        module.model.backbone,
        module.phase,
        plan.batch_size,
        seed=mixed(context.seed, number) if number else context.seed,
        prefix=prefix,
        accumulate=plan.accumulate,
        given=plan.init == "pretrained" and not changed & set(prefix),
    )
    module.inputs_after = batches.stage
    return batches


@dataclass(frozen=True)
class _Start:
    """Where the head starts, and what `Fitted` says of the probe that it comes from."""

    head: nn.Linear | None
    stages: Mapping[str, Mapping[str, Any]]
    sweep: Mapping[str, Sequence[Mapping[str, float]]]


_RANDOM = _Start(None, {}, {})


def _probe(context: Context, backbone: Backbone) -> _Start:
    """The head that fits train best on frozen features, its C chosen on val and nothing else of val seen."""
    data, stage = context.data, backbone.top
    train, val = (split[stage] for split in extract_train_val(replace(context, backbone=backbone), [stage], "avg"))
    with context.timer.step("fit"):
        probe = create_probe({"Cs": HEAD_CS}, context.seed)
        probe.fit(train, data.train.labels, val, data.val.labels)
    best = chosen_row(probe)
    log.info("Head: linear probe of %s, C = %.3g, val top-1 %.1f %%.", stage, probe.C_, 100 * best["val_top1"])
    figures = {stage: {**best, "features": probe.n_features_in_}}
    return _Start(probe_head(probe, len(data.class_names)), figures, {stage: probe_path(probe)})


def val_probabilities(module: FinetuneModule, val: Any, context: Context) -> Probabilities:
    """Of the module as it is; computed from the inputs that are there, if they are."""
    if not isinstance(val, StoredInputs):
        return center_probabilities(module.model.eval(), context.data.val, make_extractor(context.settings, keep=False))
    device, precision = run_place(context.settings)
    module.eval().to(device)
    found = []
    with torch.inference_mode(), autocast(precision, device):
        for start in range(0, len(val), module.plan.batch_size):
            inputs, _ = val.batch(range(start, min(start + module.plan.batch_size, len(val))))
            found.append(module.batch_logits(inputs.to(device)).softmax(dim=1).cpu().numpy())
    module.cpu()
    return np.concatenate(found)


def _score(probabilities: Probabilities, labels: npt.NDArray[np.int64]) -> float:
    figures = compute_metrics(probabilities, labels)
    return score(float(figures["top1"]), float(figures["nll"]), len(labels))
