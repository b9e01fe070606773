"""Distillation, against the formula of Hinton et al. 2015; teachers of other preprocessing and order of classes."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.transforms.functional import to_pil_image

import transferkit as tk
from transferkit.errors import TransferkitError
from transferkit.models.transfer_model import TransferModel
from transferkit.training.distill import Teacher
from transferkit.training.finetune_module import FinetuneModule
from transferkit.training.plan import Plan

SETTINGS = {"teacher": "probe", "temperature": 3.0, "weight": 0.4}
NAMES = ["a", "b", "c"]


def make_model(names: list[str] = NAMES) -> TransferModel:
    torch.manual_seed(0)
    backbone = tk.create_backbone("narrow_resnet10", "resnet_glyphs")
    return TransferModel(backbone, nn.Linear(192, len(names)), names).eval()


def teach(model: TransferModel, student: Any = None, names: list[str] = NAMES) -> Teacher:
    return Teacher(model, SETTINGS, student or model.preprocess, names)


def pixels(size: int = 32) -> torch.Tensor:
    return torch.randint(0, 256, (8, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_the_loss_is_that_of_the_paper() -> None:
    """Cross entropy with the softened targets has the same gradient as the divergence, T squared makes up for it."""
    model, images, labels = make_model(), pixels(), torch.arange(8) % 3
    teacher, logits = teach(model), torch.randn(8, 3, requires_grad=True)
    hard = F.cross_entropy(logits, labels)
    target = (model(model.preprocess.finish(images)) / 3).softmax(1).detach()
    soft = -(target * (logits / 3).log_softmax(1)).sum(1).mean()
    (expected,) = torch.autograd.grad(0.6 * hard + 0.4 * 9 * soft, logits, retain_graph=True)
    (found,) = torch.autograd.grad(teacher.loss(images, logits, hard), logits)
    torch.testing.assert_close(found, expected)


def test_the_teachers_classes_may_have_another_order() -> None:
    model, images = make_model(), pixels()
    other = copy.deepcopy(model)
    other.class_names = ["c", "a", "b"]
    with torch.no_grad():
        other.head.weight.copy_(model.head.weight[[2, 0, 1]])  # type: ignore[operator, index]
        other.head.bias.copy_(model.head.bias[[2, 0, 1]])  # type: ignore[operator, index]
    torch.testing.assert_close(teach(other).logits(images), teach(model).logits(images))


def test_a_teacher_of_another_preprocessing_gets_its_own_inputs() -> None:
    model, images = make_model(), pixels()
    other = make_model()
    other.backbone.preprocess = model.preprocess.override(mean=0.3, std=0.7, input_size=48, crop_pct=1.0)
    expected = torch.stack([other.preprocess(to_pil_image(image)) for image in images])
    with torch.no_grad():
        logits = other(expected)
    for given in (images, model.preprocess.finish(images)):
        found = teach(other, model.preprocess).logits(given)
        np.testing.assert_allclose(found, logits, atol=0.02)  # the image library rounds resized pixels


def test_other_classes_are_refused() -> None:
    with pytest.raises(TransferkitError, match=r"distill\.teacher=probe must have the classes .* different: c, d\."):
        teach(make_model(), names=["a", "b", "d"])


def test_a_module_trains_with_its_teacher_and_not_without() -> None:
    phases = {"only": {"epochs": 1, "train": {"head": 1e-2}}}
    plan = Plan.from_mapping({"name": "t", "phases": phases, "distill": SETTINGS, "label_smoothing": 0.0})
    model, batch = make_model(), (pixels(), torch.arange(8) % 3)
    module = FinetuneModule(copy.deepcopy(model.backbone), 3, plan, class_names=NAMES)
    module.log = lambda *args, **kwargs: None
    with pytest.raises(TransferkitError, match="needs images"):
        module.training_step(batch, 0)
    module.teacher = teach(model)
    state = set(module.state_dict())
    loss = module.training_step(batch, 0)
    logits = module(batch[0])
    torch.testing.assert_close(loss, module.teacher.loss(batch[0], logits, F.cross_entropy(logits, batch[1])))
    assert not any("teacher" in name for name in state)
    assert not any(p.requires_grad for p in module.teacher.model.parameters())
