"""Weight decay in transformers: as timm's own helper has it."""

import timm
import torch
from timm.optim import param_groups_weight_decay

from transferkit.backbones.create import create_backbone
from transferkit.training.parameter_groups import parameter_groups

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
