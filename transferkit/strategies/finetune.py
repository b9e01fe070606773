"""Finetuning: the head starts as a probe or at random, then each phase of a plan trains its stages."""

import copy

import numpy as np
import torch
from sklearn.utils.class_weight import compute_class_weight

from transferkit.backbones.backbone import Backbone
from transferkit.backbones.create import create_backbone
from transferkit.data.imagedata import ImageData
from transferkit.data.sources.generated import mixed
from transferkit.device import run_place
from transferkit.strategies.context import Context
from transferkit.strategies.fitted import Fitted
from transferkit.strategies.head_start import HeadStart, probed_head
from transferkit.strategies.phases import run_phases
from transferkit.strategies.training_settings import plan_recipe
from transferkit.training.finetune_module import FinetuneModule
from transferkit.training.plan import Plan
from transferkit.training.run_phase import check_recipe


def fit_finetune(context: Context) -> Fitted:
    """Fit a strategy that has phases: `context.plan`.

    After each phase the weights of the best epoch on val are restored; the state before it counts as epoch 0, so a
    phase that only makes val worse is undone.

    Raises:
        TransferkitError: The run directory holds checkpoints of another training, or the loss is no longer finite.
    """
    data, plan = context.data, context.plan
    assert plan is not None, "a strategy with phases comes with its plan (strategies.context.find_plan)"
    check_recipe(context.run_dir / "checkpoints", plan_recipe(context, plan))
    backbone = copy.deepcopy(context.backbone) if plan.init == "pretrained" else random_like(context)
    start = probed_head(context, backbone) if plan.head == "probe" else HeadStart()
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
    phases = run_phases(module, context)
    return Fitted(
        model=module.model.requires_grad_(True).eval(),
        val=phases.val,
        trainable_parameters=max(figures["trainable_parameters"] for figures in phases.figures.values()),
        stages=start.stages,
        sweep=start.sweep,
        history=phases.history,
        details={"stage": backbone.top, "precision": run_place(context.settings)[1], "phases": phases.figures},
    )


def random_like(context: Context) -> Backbone:
    """The context's network with random weights."""
    given = context.backbone
    with torch.random.fork_rng():
        # Not the seed itself: the embedded weights were trained from the initialisation of seed 0.
        torch.manual_seed(mixed(context.seed, 2))
        fresh = create_backbone(given.spec.name, None, given.spec.source, kwargs=given.spec.kwargs)
    fresh.preprocess = given.preprocess
    fresh.changed_stages.update(fresh.stage_names)  # no other run will ask for the features of these random weights
    return fresh.truncate(given.stage_names[-1])


def class_weights(plan: Plan, data: ImageData) -> list[float] | None:
    """Class weights (K,) of the loss."""
    if plan.class_weights == "none":
        return None
    classes = np.arange(len(data.class_names))
    weights: list[float] = compute_class_weight("balanced", classes=classes, y=data.train.labels).tolist()
    return weights
