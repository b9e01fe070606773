"""LoRA: what is trained, and that merging leaves an ordinary network with the same output."""

import copy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models.vision_transformer import EncoderBlock

import transferkit as tk
from tests.training.test_finetune_module import trainer
from tests.training.test_trained_parameters import plan, vit
from transferkit.backbones.backbone import Backbone
from transferkit.errors import TransferkitError
from transferkit.models.transfer_model import load_model, save_model
from transferkit.training.adapters import require_peft, target_layers
from transferkit.training.finetune_module import FinetuneModule

TRAIN = {"head": 1e-2, "stage[45]": 1e-2}
KINDS = ["attention", "mlp", "convolutions"]


def network(name: str) -> Backbone:
    return vit() if name == "vit" else tk.create_backbone("narrow_resnet10", "resnet_glyphs")


def module_of(backbone: Backbone, train: dict[str, float] = TRAIN, **lora: Any) -> FinetuneModule:
    return FinetuneModule(backbone, 3, plan("lora", train, lora={"rank": 4, "alpha": 8, **lora}))


@pytest.fixture
def images() -> Tensor:
    return torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["vit", "resnet"])
def test_a_phase_of_lora(name: str, images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = network(name)
    names = set(backbone.truncate(backbone.top).original_state_dict())
    module = module_of(backbone)
    linear: Any = module.model.head
    plain = FinetuneModule(network(name), 3, plan("all", TRAIN), head=linear)
    torch.testing.assert_close(module.eval()(images), plain.eval()(images))  # a new adapter changes nothing
    adapted: list[Any] = [
        m for s in ("stage4", "stage5") for m in plain.named_stages[s].modules() if type(m) in (nn.Linear, nn.Conv2d)
    ]
    sizes = (4 * (m.weight[0].numel() + m.weight.shape[0]) for m in adapted)
    assert module.trainable_parameters == sum(sizes) + 3 * (module.model.head.in_features + 1)
    before = copy.deepcopy(module.state_dict())
    loader: Any = DataLoader(TensorDataset(images, torch.arange(8) % 3), 4)
    trainer(tmp_path, max_epochs=2).fit(module, loader, loader)
    after = module.state_dict()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed == {key for key, value in module.named_parameters() if value.requires_grad}
    assert all(".lora_" in key or key.startswith("model.head.") for key in changed)
    assert not changed & module.frozen_keys()
    with pytest.raises(TransferkitError, match=r"adapters of LoRA .*FinetuneModule\.merge"):
        save_model(tmp_path / "early", module.model)

    with torch.no_grad():
        expected = module.eval()(images)
    module.merge()
    assert set(module.model.backbone.original_state_dict()) == names
    torch.testing.assert_close(module(images), expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(plain(images), expected, atol=1e-3)
    save_model(tmp_path / "artifact", module.model)
    monkeypatch.setitem(sys.modules, "peft", None)  # importing it would fail
    torch.testing.assert_close(load_model(tmp_path / "artifact")(images), expected, rtol=1e-4, atol=1e-4)


def test_targets_and_stages_are_data(images: Tensor) -> None:
    def layers(train: dict[str, float], *targets: str) -> set[str]:
        stages = module_of(vit(), train, targets=list(targets)).named_stages
        return {
            f"{name} {path.removesuffix('.base_layer')}"
            for name, stage in stages.items()
            for path, _ in stage.named_modules()
            if path.endswith(".base_layer")
        }

    assert layers({"stage3": 1.0, "head": 1.0}, "attention") == {
        "stage3 blocks.1.attn.qkv",
        "stage3 blocks.1.attn.proj",
    }
    assert layers({"stage3": 1.0}, "mlp") == {"stage3 blocks.1.mlp.fc1", "stage3 blocks.1.mlp.fc2"}
    assert layers({"stage*": 1.0}, "convolutions") == {"stage1 patch_embed.proj"}
    with pytest.raises(TransferkitError, match=r"targets=\[attention\]: the stages of .*only \(stage5\).*convolutions"):
        module_of(network("resnet"), {"stage5": 1.0, "head": 1.0}, targets=["attention"])


def test_layers_that_cannot_be_adapted_are_left_out() -> None:
    """torchvision's attention is one module, whose output layer is never called; grouped convolutions have no rank."""
    block = EncoderBlock(3, 48, 96, 0.0, 0.0)
    names = target_layers(nn.ModuleDict({"a": block, "b": nn.Conv2d(8, 8, 3, groups=8)}), KINDS)
    assert names == ["a.mlp.0", "a.mlp.3"]


def test_adapters_follow_the_layers_rates_and_the_seed() -> None:
    phase = {"epochs": 1, "train": {"stage*": 1e-3, "head": 1e-3}, "parameters": "lora", "lr_decay": 0.5}
    recipe = tk.Plan.from_mapping({"name": "test", "phases": {"only": phase}})
    torch.manual_seed(3)
    module = FinetuneModule(vit(), 3, recipe)
    names = {id(p): key for key, p in module.named_parameters()}
    rates = {names[id(p)]: group["lr"] for group in module.parameter_groups() for p in group["params"]}
    stages = "model.backbone.stages"
    assert rates[f"{stages}.stage5.blocks.3.mlp.fc1.lora_A.default.weight"] == pytest.approx(5e-4)
    assert rates[f"{stages}.stage2.blocks.0.attn.qkv.lora_B.default.weight"] == pytest.approx(1e-3 / 16)
    key = f"{stages}.stage2.blocks.0.attn.qkv.lora_A.default.weight"
    first = module.state_dict()[key].clone()
    torch.manual_seed(4)
    module.begin("only")
    assert torch.equal(module.state_dict()[key], first)


def test_without_peft_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transferkit.training.adapters.find_spec", lambda _: None)
    with pytest.raises(TransferkitError, match=r"needs the package peft.*pip install 'transferkit\[peft\]'"):
        require_peft()
    with pytest.raises(TransferkitError, match="needs the package peft"):
        module_of(vit())
