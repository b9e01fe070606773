"""L2-SP, against the formula and against plain steps of SGD."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

import transferkit as tk
from transferkit.errors import TransferkitError
from transferkit.training.finetune_module import FinetuneModule, _optimizer_settings
from transferkit.training.plan import Plan

ALPHA, BETA = 0.3, 0.02


def make_module(**keys: Any) -> FinetuneModule:
    torch.manual_seed(0)
    phases = {"only": {"epochs": 1, "train": {"head": 0.1, "stage5": 0.1}, **keys.pop("phase", {})}}
    plan = Plan.from_mapping({"name": "test", "phases": phases, "l2_sp": {"alpha": ALPHA, "beta": BETA}, **keys})
    module = FinetuneModule(tk.create_backbone("narrow_resnet10", "resnet_glyphs"), 3, plan)
    module.log = lambda *args, **kwargs: None
    return module


def test_the_loss_has_the_penalty_of_the_paper() -> None:
    module = make_module()
    images, labels = torch.randn(8, 3, 32, 32), torch.arange(8) % 3
    start = {name: p.detach().clone() for name, p in module.model.backbone.named_parameters()}
    plain = F.cross_entropy(module(images), labels, label_smoothing=0.1)
    head: Any = module.model.head
    of_head = BETA / 2 * (head.weight**2).sum()
    torch.testing.assert_close(module.training_step((images, labels), 0), plain + of_head)
    with torch.no_grad():
        for parameter in module.model.backbone.stages["stage5"].parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.01)
    distance = sum(((p - start[name]) ** 2).sum() for name, p in module.model.backbone.named_parameters())
    moved = F.cross_entropy(module(images), labels, label_smoothing=0.1)
    torch.testing.assert_close(module.training_step((images, labels), 0), moved + of_head + ALPHA / 2 * distance)


def test_without_a_gradient_of_the_labels_the_weights_go_back_to_the_start() -> None:
    module = make_module()
    backbone = module.model.backbone
    start = [p.detach().clone() for p in backbone.stages["stage5"].parameters()]
    with torch.no_grad():
        for parameter in backbone.stages["stage5"].parameters():
            parameter.add_(1.0)
    optimizer = torch.optim.SGD(module.parameter_groups())
    for _ in range(5):
        optimizer.zero_grad()
        assert module._start is not None
        module._start.penalty(backbone, module.model.head).backward()  # type: ignore[arg-type, no-untyped-call]
        optimizer.step()
    for before, after in zip(start, backbone.stages["stage5"].parameters(), strict=True):
        torch.testing.assert_close(
            after - before, torch.full_like(before, (1 - 0.1 * ALPHA) ** 5), rtol=1e-4, atol=1e-5
        )


def test_it_takes_the_place_of_weight_decay() -> None:
    module = make_module()
    module._trainer = type("Trainer", (), {"precision": "32-true"})()
    assert _optimizer_settings(module)["weight_decay"] == 0.0


def test_adapters_have_no_start_to_stay_near() -> None:
    with pytest.raises(TransferkitError, match=r"l2_sp\.alpha does nothing in phases with parameters: lora"):
        make_module(phase={"parameters": "lora"})
