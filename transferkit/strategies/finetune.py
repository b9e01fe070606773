"""Finetuning: the head starts as a probe or at random, then each phase of a plan trains its stages."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from transferkit.device import run_place
from transferkit.report.facts import NOT_FINETUNED
from transferkit.strategies.calibrate import KEY, apply_temperature, calibration_facts
from transferkit.strategies.context import Context
from transferkit.strategies.fitted import Fitted
from transferkit.strategies.fold_fits import FoldChoice, by_folds, finetune_folds, fit_folds, whole_data
from transferkit.strategies.head_start import HeadStart
from transferkit.strategies.phases import Phases, run_phases, run_until
from transferkit.strategies.start_module import make_module
from transferkit.strategies.stops import Stop, all_stops
from transferkit.strategies.training_settings import plan_recipe
from transferkit.strategies.wise_ft import (
    State,
    choose_share,
    copied_state,
    course_of_shares,
    mix_weights,
    mixed_stops,
    share_facts,
)
from transferkit.targets.target import Target
from transferkit.training.finetune_module import FinetuneModule
from transferkit.training.plan import Plan
from transferkit.training.run_phase import check_recipe

log = logging.getLogger(__name__)

FEW = 30
"""Images: with fewer, a choice by their accuracy is little better than a guess."""


def fit_finetune(context: Context) -> Fitted:
    """Fit a strategy that has phases: `context.plan`.

    With many images of val (`selection`), after each phase the weights of the best epoch on val are restored; the state
    before it counts as epoch 0, so a phase that only makes val worse is undone. With few, folds of train and val say
    how far the plan is carried out (`stops.choose_stop`), and then it is, on train and val.

    Raises:
        TransferkitError: The run directory holds checkpoints of another training, or the loss is no longer finite.
    """
    plan = context.plan
    assert plan is not None, "a strategy with phases comes with its plan (strategies.context.find_plan)"
    check_recipe(context.run_dir / "checkpoints", plan_recipe(context, plan))
    folds = finetune_folds(context)
    _announce(context, plan, len(folds))
    _doubt_enlarged_parts(context)
    if folds:
        return _fit_all(context, plan, fit_folds(context, plan, folds, carry_out), len(folds))
    module, start = make_module(context, plan)
    before = copied_state(module.model) if plan.wise_ft is not None else {}
    last = context.settings["selection"]["name"] == "last"
    phases = run_until(module, context, all_stops(plan)[-1]) if last else run_phases(module, context)
    if before:
        phases = _averaged(module, before, phases, context)
    by = {"by": "last" if last else "val", "images": len(context.data.val)}
    return _fitted(context, module, start, phases, by)


def carry_out(context: Context, stop: Stop) -> Phases:
    """Carry out the plan up to a stop, for a fold."""
    assert context.plan is not None
    module, _ = make_module(context, context.plan)
    mixed = mixed_stops(context.plan)
    before = copied_state(module.model) if mixed else {}
    phases = run_until(module, context, stop)
    means = course_of_shares(module.model, before, mixed, context) if mixed else []
    return replace(phases, course=[*phases.course, *means])


def _averaged(module: FinetuneModule, before: State, phases: Phases, context: Context) -> Phases:
    """The mean with the weights before training, its share chosen on val unless the plan gives it."""
    stops = mixed_stops(module.plan)
    course, labels = course_of_shares(module.model, before, stops, context), context.data.val.labels
    chosen = choose_share(course, labels)
    facts = share_facts(stops, course, labels, chosen, "val")
    mix_weights(module.model, before, copied_state(module.model), stops[chosen].share)
    return replace(phases, val=course[chosen], wise_ft=facts)


def _announce(context: Context, plan: Plan, folds: int) -> None:
    """Say what chooses, what that costs, and whether it is enough."""
    val, train = len(context.data.val), len(context.data.train)
    if folds:
        log.info(
            "val has %d images, too few to choose epochs on: %s is fitted %d times, in %d folds of train and val and "
            "then to all %d images (selection=val and selection=last fit once).",
            *(val, plan.name, folds + 1, folds, train + val),
        )
    deciding = train + val if folds else val
    if deciding < FEW and context.settings["selection"]["name"] != "last":
        log.warning(
            "Only %d images decide how long is trained, and whether training helps at all: both are little better than "
            "a guess.",
            deciding,
        )


def _doubt_enlarged_parts(context: Context) -> None:
    """Warn where the augmentation enlarges parts of images that are no larger than the network's input."""
    augment, (height, width) = context.settings["augment"], context.backbone.preprocess.input_size
    if augment["transforms"].get("random_resized_crop") is None:
        return
    image = context.data.train.image(0)
    if image.height <= height and image.width <= width:
        log.warning(
            "The images (the first has %d x %d pixels) are no larger than the network's input, and augment=%s cuts out "
            "parts of them and enlarges these, which can hide what tells classes apart: compare with augment=none.",
            *(image.width, image.height, augment["name"]),
        )


def _fit_all(context: Context, plan: Plan, found: FoldChoice, folds: int) -> Fitted:
    """Fit train and val up to the stop that the folds chose."""
    whole = replace(by_folds(context), data=whole_data(context.data))
    begun, ended = found.figures[0], found.figures[found.index]
    log.info(
        "Out of fold, %d images: %s before training, %s after %s; chosen: %s.",
        *(begun["n"], *(_words(context.data.target, row) for row in (begun, ended))),
        *(_named(plan, found.stop), _named(plan, found.stop)),
    )
    module, start = make_module(whole, plan)
    before = copied_state(module.model) if found.wise_ft else {}
    phases = run_until(module, whole, found.stop, held_out=False)
    if before:
        mix_weights(module.model, before, copied_state(module.model), found.stop.share)
    # Val was fitted, too: its figures are those of the folds.
    history: list[Mapping[str, Any]] = [
        {**row, **_val_row(context.data.target, seen)}
        for row, seen in zip(phases.history, found.figures[1:], strict=False)
    ]
    by = {"by": "cv", "images": begun["n"], "folds": folds, "chosen": _named(plan, found.stop)}
    val = found.predictions.rows(len(context.data.train), len(whole.data.train))
    fitted = _fitted(context, module, start, replace(phases, val=val, history=history, wise_ft=found.wise_ft), by)
    if not context.data.target.soft_max:
        return replace(fitted, out_of_fold=found.predictions)
    apply_temperature(module.model.head, found.temperature)
    calibration = calibration_facts(found.temperature, "out of fold", ended, found.predictions.metrics())
    return replace(fitted, out_of_fold=found.predictions, details={**fitted.details, KEY: calibration})


def _val_row(target: Target, figures: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of val in a row of the history."""
    top1 = {"val_top1": figures["top1"]} if target.soft_max else {}
    return {"val_loss": figures[target.loss_name], **top1}


def _words(target: Target, figures: Mapping[str, Any]) -> str:
    """Accuracy, where there is one, and loss in words."""
    loss = f"{figures[target.loss_name]:.3f}"
    return f"top-1 {100 * figures['top1']:.1f} % (loss {loss})" if target.soft_max else f"loss {loss}"


def _named(plan: Plan, stop: Stop) -> str:
    if not stop.phases:
        return "no training"
    phase = plan.phases[stop.phases - 1]
    share = "" if stop.share == 1 else f", {100 * stop.share:.0f} % of its weights"
    return f"epoch {stop.epochs} of {phase.epochs} of phase {phase.name}{share}"


def _fitted(
    context: Context, module: FinetuneModule, start: HeadStart, phases: Phases, selection: Mapping[str, Any]
) -> Fitted:
    if start.head is not None and not phases.trained:
        log.info("%s.", NOT_FINETUNED.capitalize())
    head = sum(parameter.numel() for parameter in module.model.head.parameters())
    return Fitted(
        model=module.model.requires_grad_(True).eval(),
        val=phases.val,
        trainable_parameters=max([head, *(figures["trainable_parameters"] for figures in phases.figures.values())]),
        stages=start.stages,
        sweep=start.sweep,
        history=phases.history,
        details={
            "stage": module.model.backbone.top,
            "precision": run_place(context.settings)[1],
            "phases": phases.figures,
            "selection": dict(selection),
            **({"wise_ft": dict(phases.wise_ft)} if phases.wise_ft else {}),
            **({"finetuned": phases.trained} if start.head is not None else {}),
        },
    )
