"""Weight decay and rates by layer in transformers: as timm's own helpers have them."""

from typing import Any

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay, param_groups_weight_decay

from transferkit.backbones.create import create_backbone
from transferkit.training.finetune_module import FinetuneModule
from transferkit.training.parameter_groups import layer_factors, parameter_groups
from transferkit.training.plan import Plan

TINY = {"img_size": 42, "embed_dim": 48, "depth": 4, "num_heads": 3, "num_classes": 3, "init_values": 1e-5}


def test_weight_decay_spares_what_timm_spares() -> None:
    name = "vit_small_patch14_reg4_dinov2"
    torch.manual_seed(0)
    backbone = create_backbone(name, None, "timm", kwargs=TINY)
    groups = parameter_groups(dict(backbone.stages.items()), dict.fromkeys(backbone.stage_names, 1e-3), False)
    original = {id(p): key.split(".", 2)[2] for key, p in backbone.named_parameters()}
    spared = {original[id(p)] for group in groups if group.get("weight_decay") == 0 for p in group["params"]}
    model = timm.create_model(name, **TINY)
    # Older releases of timm do not name the register tokens themselves.
    theirs, _ = param_groups_weight_decay(model, 0.1, no_weight_decay_list=model.no_weight_decay() | {"reg_token"})
    names = {id(p): key for key, p in model.named_parameters()}
    assert spared == {names[id(p)] for p in theirs["params"]}
    assert {"pos_embed", "cls_token", "reg_token", "blocks.0.ls1.gamma", "norm.bias"} <= spared
    assert sum(len(group["params"]) for group in groups) == len(names)
    everything = parameter_groups(dict(backbone.stages.items()), dict.fromkeys(backbone.stage_names, 1e-3), True)
    assert not any("weight_decay" in group for group in everything)


LAYERED: dict[str, dict[str, Any]] = {
    "vit_small_patch14_reg4_dinov2": TINY,
    "vit_base_patch16_siglip_224": {"img_size": 32, "embed_dim": 48, "depth": 3, "num_heads": 3, "num_classes": 3},
    "swin_tiny_patch4_window7_224": {"embed_dim": 24, "depths": [1, 1, 2, 1], "num_classes": 3},
    "convnext_atto": {"depths": [1, 1, 2, 1], "num_classes": 3},
}


@pytest.mark.parametrize("name", LAYERED)
@pytest.mark.parametrize("classes", [3, 0])
def test_rates_decay_by_layer_as_in_timm(name: str, classes: int) -> None:
    """Also for a network without a classifier, as DINOv2's: the new head counts as the classifier would."""
    kwargs = LAYERED[name]
    backbone = create_backbone(name, None, "timm", kwargs={**kwargs, "num_classes": classes})
    backbone = backbone.truncate(backbone.top)
    phase = {"epochs": 1, "train": {"head": 1e-3, "stage*": 1e-3}, "lr_decay": 0.65}
    module = FinetuneModule(
        backbone, 3, Plan.from_mapping({"name": "test", "phases": {"all": phase}, "layer_norm_scale": 1.0})
    )
    original = {id(p): key for key, p in backbone.original_state_dict(keep_vars=True).items()}
    head = {id(p) for p in module.model.head.parameters()}
    ours = {original.get(id(p), "head"): g["lr"] for g in module.parameter_groups() for p in g["params"]}
    model = timm.create_model(name, **kwargs)
    names = {id(p): key for key, p in model.named_parameters()}
    theirs = {
        names[id(p)]: 1e-3 * group["lr_scale"]
        for group in param_groups_layer_decay(model, layer_decay=0.65)
        for p in group["params"]
    }
    assert ours.pop("head") == pytest.approx(1e-3)
    assert head
    assert ours == pytest.approx({key: theirs[key] for key in ours})
    assert len(set(ours.values())) >= 4, "a rate for each layer"


def test_other_networks_count_stages() -> None:
    backbone = create_backbone("narrow_resnet10", None)
    factors = layer_factors(backbone.truncate("stage5"), 0.5)
    found = [{factors[id(p)] for p in stage.parameters()} for name, stage in backbone.stages.items() if name != "head"]
    assert found == [{0.5**5}, {0.5**4}, {0.5**3}, {0.5**2}, {0.5}]
