"""Phases that train part of their stages: norms, biases and norms."""

import copy
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import transferkit as tk
from tests.training.test_finetune_module import trainer
from transferkit.backbones.backbone import Backbone
from transferkit.errors import TransferkitError
from transferkit.training.finetune_module import FinetuneModule
from transferkit.training.plan import Plan
from transferkit.training.trained_parameters import trained_parameters

VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 4, "num_heads": 3, "num_classes": 3}
NETWORKS: dict[str, dict[str, Any]] = {
    "vit_tiny_patch16_224": {**VIT, "drop_path_rate": 0.5},
    "resnet10t": {},
    "convnext_atto": {"depths": [1, 1, 1, 1]},
    "test_convnext3": {},
}
KINDS = (nn.LayerNorm, nn.BatchNorm2d)


def plan(parameters: str, train: dict[str, float], **keys: Any) -> Plan:
    phase = {"epochs": 1, "train": train, "parameters": parameters}
    return Plan.from_mapping({"name": "test", "phases": {"only": phase}, **keys})


def vit(**more: Any) -> Backbone:
    torch.manual_seed(0)
    return tk.create_backbone("vit_tiny_patch16_224", None, "timm", kwargs={**VIT, **more})


@pytest.fixture
def loader() -> DataLoader[tuple[Tensor, ...]]:
    images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(images, torch.arange(8) % 3), 4)


@pytest.mark.parametrize("name", NETWORKS)
def test_they_are_the_originals_norms_and_biases(name: str) -> None:
    model = timm.create_model(name, **NETWORKS[name])
    backbone = tk.create_backbone(name, None, "timm", kwargs=NETWORKS[name])
    norms = {path for path, module in model.named_modules() if isinstance(module, KINDS)}
    expected = {key for key, _ in model.named_parameters() if key.rpartition(".")[0] in norms}
    names = {id(value): key for key, value in backbone.original_state_dict(keep_vars=True).items()}

    def found(which: str) -> set[str]:
        return {names[id(p)] for stage in backbone.stages.values() for p in trained_parameters(stage, which)}

    assert found("norms") == expected
    assert found("biases_and_norms") == expected | {k for k, _ in model.named_parameters() if k.endswith("bias")}
    assert found("all") == {key for key, _ in model.named_parameters()}


@pytest.mark.parametrize("which", ["norms", "biases_and_norms"])
@pytest.mark.parametrize("batch_norm", ["running", "batch"])
@pytest.mark.parametrize("network", ["resnet", "vit"])
def test_only_they_change(network: str, which: str, batch_norm: str, loader: Any, tmp_path: Path) -> None:
    backbone = vit() if network == "vit" else tk.create_backbone("narrow_resnet10", "resnet_glyphs")
    recipe = plan(which, {"head": 1e-2, "stage[1345]": 1e-2}, batch_norm=batch_norm)
    module = FinetuneModule(backbone, 3, recipe)
    # The patch embedding has no norms, so it counts as frozen.
    assert ("stage1" in module.rates) is (network == "resnet" or which == "biases_and_norms")
    before = copy.deepcopy(module.state_dict())
    trained = {key for key, value in module.named_parameters() if value.requires_grad}
    trainer(tmp_path).fit(module, loader, loader)
    after = module.state_dict()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert not changed & module.frozen_keys()
    statistics = {key for key in changed if key.endswith(("running_mean", "running_var", "num_batches_tracked"))}
    assert bool(statistics) is (batch_norm == "batch" and network == "resnet")
    assert changed - statistics == trained
    assert not any(".stage2." in key for key in changed)
    assert module.trainable_parameters == sum(before[key].numel() for key in trained)


def test_a_network_without_norms_says_so() -> None:
    backbone = tk.create_backbone("squeezenet1_1", None, "torchvision")
    with pytest.raises(TransferkitError, match=r"only\.parameters=norms: the stages stage4 of squeezenet1_1 have no"):
        FinetuneModule(backbone, 3, plan("norms", {"stage4": 1.0, "head": 1.0}))


def test_stochastic_depth_and_dropout_are_on_in_trained_stages_only() -> None:
    backbone = vit(drop_path_rate=0.5, proj_drop_rate=0.3, attn_drop_rate=0.3)
    module = FinetuneModule(backbone, 3, plan("all", {"head": 1e-2, "stage[45]": 1e-3}))
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    backbone.eval()
    plain = {name: state.clone() for name, state in module.model.backbone.forward_stages(images).items()}  # type: ignore[union-attr]
    module.train()
    passes = [module.model.backbone.forward_stages(images) for _ in range(2)]
    for name, expected in plain.items():
        same = [torch.equal(found[name], expected) for found in passes]  # type: ignore[arg-type]
        assert same == [name in ("stage1", "stage2", "stage3")] * 2, name
    assert not torch.equal(passes[0]["stage5"], passes[1]["stage5"])  # type: ignore[arg-type]
