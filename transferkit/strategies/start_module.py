"""The module before its first phase: the network, its head, and what it is trained with."""

import copy

import numpy as np
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor

from transferkit.backbones.backbone import Backbone
from transferkit.backbones.create import create_backbone
from transferkit.choices import PROBE
from transferkit.data.imagedata import ImageData
from transferkit.data.sources.generated import mixed
from transferkit.models.transfer_model import TransferModel, load_model
from transferkit.strategies.column_probe import probed_columns
from transferkit.strategies.context import Context
from transferkit.strategies.head_start import HeadStart, probed_head, random_head
from transferkit.training.distill import Teacher
from transferkit.training.finetune_module import FinetuneModule
from transferkit.training.initialise import initialise
from transferkit.training.plan import Plan

EXAMPLES = 64
"""Images by whose outputs LSUV scales weights."""


def make_module(context: Context, plan: Plan) -> tuple[FinetuneModule, HeadStart]:
    """The module before its first phase, and where its head comes from."""
    data = context.data
    backbone = copy.deepcopy(context.backbone) if plan.init == "pretrained" else random_like(context)
    probed = probed_head if data.target.soft_max else probed_columns
    start = probed(context, backbone) if plan.head == "probe" else random_head(context, backbone)
    with torch.random.fork_rng():
        torch.manual_seed(context.seed)
        module = FinetuneModule(
            backbone,
            data.target.width,
            plan,
            head=start.head,
            class_names=data.target,
            class_weights=class_weights(plan, data),
            feature_norm=start.feature_norm,
        )
    module.merge()  # its first phase begins when it is fitted
    initialise_model(context, plan, module.model)
    module.teacher = make_teacher(context, plan, module.model)
    return module, start


def make_teacher(context: Context, plan: Plan, model: TransferModel) -> Teacher | None:
    """The teacher of a plan with `distill`: a copy of the model before training, or that of a run directory.

    Raises:
        TransferkitError: It cannot be read, or has other classes.
    """
    given = plan.distill["teacher"]
    if given is None:
        return None
    teacher = copy.deepcopy(model) if given == PROBE else load_model(given)
    return Teacher(teacher, plan.distill, model.preprocess, context.data.class_names)


def initialise_model(context: Context, plan: Plan, model: TransferModel) -> None:
    """Give weights that start at random those of `plan.network_init` and `plan.head_init`, in place."""
    seed, value = mixed(context.seed, 3), plan.init_value
    if plan.network_init != "default":
        images = example_images(context, model) if plan.network_init == "lsuv" else None
        initialise(model.backbone, plan.network_init, value=value, seed=seed, inputs=images)
    if plan.head_init != "default":
        features = None
        if plan.head_init == "lsuv":
            with torch.no_grad():
                features = model.eval().features(example_images(context, model))
        initialise(model.head, plan.head_init, value=value, activation="linear", seed=seed + 1, inputs=features)


def example_images(context: Context, model: TransferModel) -> Tensor:
    """Some training images (n, 3, H, W), preprocessed, for weights that are scaled by their outputs."""
    train = context.data.train
    chosen = np.random.default_rng(context.seed).permutation(len(train))[:EXAMPLES]
    return torch.stack([model.preprocess(train[int(i)][0]) for i in chosen])


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
