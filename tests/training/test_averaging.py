"""Stochastic weight averaging: the mean over epochs, its batch norm, its checkpoints; and the head's dropout."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn
from torch.utils.data import DataLoader, TensorDataset

import transferkit as tk
from tests.training.test_finetune_module import trainer
from transferkit.training.averaging import StochasticAverage, equal_average, first_averaged
from transferkit.training.finetune_module import FinetuneModule
from transferkit.training.plan import Plan
from transferkit.training.split_forward import logits_after


def make_module(batch_norm: str = "running", **keys: Any) -> FinetuneModule:
    torch.manual_seed(0)
    phases = {"only": {"epochs": 4, "train": {"head": 0.1, "stage5": 0.1}}}
    mapping = {"name": "t", "phases": phases, "batch_norm": batch_norm, "swa": {"start": 0.5}, **keys}
    plan = Plan.from_mapping(mapping, optimizer={"name": "sgd"}, schedule={"name": "constant"})
    return FinetuneModule(tk.create_backbone("narrow_resnet10", "resnet_glyphs"), 3, plan)


@pytest.fixture(scope="module")
def loader() -> DataLoader[Any]:
    images = torch.randn(24, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(images, torch.arange(24) % 3), 8)


class Recorded(FinetuneModule):
    """Keeps its trained weights at the end of every epoch."""

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 2:
            ends: Any = self.__dict__.setdefault("ends", [])
            ends.append({name: p.detach().clone() for name, p in self.named_parameters()})


@pytest.mark.parametrize("batch_norm", ["running", "batch"])
def test_the_result_is_the_mean_of_the_last_epochs(batch_norm: str, loader: DataLoader[Any], tmp_path: Path) -> None:
    module = make_module(batch_norm)
    module.__class__ = Recorded
    given = {name: value.clone() for name, value in module.state_dict().items()}
    trainer(tmp_path, max_epochs=4, callbacks=[StochasticAverage(first_averaged(0.5, 4))]).fit(module, loader, loader)
    ends: Any = module.__dict__["ends"]
    for name, value in module.named_parameters():
        torch.testing.assert_close(value.detach(), (ends[2][name] + ends[3][name]) / 2)
    frozen = module.frozen_keys()
    assert frozen
    assert all(torch.equal(given[name], value) for name, value in module.state_dict().items() if name in frozen)
    stage: Any = module.model.backbone.stages["stage5"]
    found = {name: value.clone() for name, value in stage.state_dict().items() if "running_" in name}
    if batch_norm == "running":
        assert all(torch.equal(given[f"model.backbone.stages.stage5.{name}"], found[name]) for name in found)
        return
    # Anew from the inputs of the stage, with torch's own function.
    with torch.no_grad():
        inputs = [module.model.backbone.forward_stages(x, ["stage4"])["stage4"] for x, _ in loader]
    update_bn(inputs, stage)
    for name, value in found.items():
        torch.testing.assert_close(stage.state_dict()[name], value, rtol=1e-3, atol=1e-4)


def test_the_mean_is_that_of_the_formula_and_keeps_what_does_not_change() -> None:
    a, b, c = torch.randn(3, 100, generator=torch.Generator().manual_seed(0)).unbind()
    torch.testing.assert_close(equal_average((a + b) / 2, c, 2), (a + b + c) / 3)
    assert torch.equal(equal_average(a, a, 5), a)
    assert int(equal_average(torch.tensor(3), torch.tensor(7), 1)) == 7


def test_at_least_the_last_epoch_is_averaged() -> None:
    assert [first_averaged(0.75, epochs) for epochs in (1, 2, 4, 10)] == [0, 1, 3, 7]
    assert first_averaged(0.99, 3) == 2


def test_dropout_of_the_head_is_inverted_and_in_training_only() -> None:
    module = make_module(head_dropout=0.75)
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = module.eval()(images)
        assert torch.equal(module(images), expected)
        features = module.model.features(images)
        found = torch.stack([logits_after(module.model, "stage5", features, 0.75) for _ in range(3000)])
        assert not torch.equal(module.train()(images), module(images))
    torch.testing.assert_close(found.mean(0), expected, rtol=0, atol=0.1)
    assert float(found.std(0).min()) > 0.1


def test_what_a_trained_network_says_does_not_depend_on_the_batch(loader: DataLoader[Any], tmp_path: Path) -> None:
    module = make_module("batch")
    trainer(tmp_path).fit(module, loader, loader)
    images = next(iter(loader))[0]
    module.eval()
    assert any(isinstance(m, nn.BatchNorm2d) for m in module.model.backbone.stages["stage5"].modules())
    with torch.no_grad():
        torch.testing.assert_close(module(images)[:1], module(images[:1]), rtol=1e-4, atol=1e-4)
