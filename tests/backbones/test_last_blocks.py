"""The outputs of a transformer's last blocks side by side, against timm's functions of that purpose."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tests.backbones.test_tokens import FLAT, HIERARCHICAL, built
from transferkit.backbones.backbone import Backbone
from transferkit.backbones.create import create_backbone
from transferkit.backbones.folded import fold_batch_norm
from transferkit.backbones.stage_sequence import feature
from transferkit.errors import TransferkitError
from transferkit.models.transfer_model import TransferModel, load_model, save_model

DINO = "vit_small_patch14_reg4_dinov2"


def timms(original: Any, x: Tensor, count: int) -> Tensor:
    """The last blocks' outputs, each after the final norm, all tokens (N, L, n C)."""
    more = {"return_prefix_tokens": True} if getattr(original, "num_prefix_tokens", 0) else {}
    if hasattr(original, "get_intermediate_layers"):
        layers = original.get_intermediate_layers(x, n=count, norm=True, **more)
    else:
        layers = original.forward_intermediates(
            x, indices=count, norm=True, intermediates_only=True, output_fmt="NLC", **more
        )
    return torch.cat([torch.cat([layer[1], layer[0]], dim=1) if more else layer for layer in layers], dim=2)


@pytest.mark.parametrize("name", [name for name in FLAT if not name.startswith("xcit")])
@torch.no_grad()
def test_the_last_blocks_are_timms(name: str) -> None:
    backbone, original, x = built(name, FLAT[name])
    blocks = len(original.blocks)
    states = backbone.forward_stages(x, ["stage3", "last1", "last2", f"last{blocks}", "stage5"])
    assert list(states) == ["stage3", "stage5", "last1", "last2", f"last{blocks}"]
    for count in (1, 2, blocks):
        assert torch.equal(feature(states[f"last{count}"]), timms(original, x, count))
    plain = backbone.forward_stages(x, ["stage3", "stage5"])
    for stage, state in plain.items():
        assert torch.equal(feature(states[stage]), feature(state))


@torch.no_grad()
def test_pooled_as_dinov2s_linear_evaluation() -> None:
    """`create_linear_input` of its `linear.py`: the class tokens of n blocks, and the mean patch of the last one."""
    backbone, original, x = built(DINO, FLAT[DINO])
    layers = original.get_intermediate_layers(x, n=4, norm=True, return_prefix_tokens=True)
    tokens = torch.cat([prefix[:, 0] for _, prefix in layers], dim=1)
    expected = {
        "cls": tokens,
        "auto": tokens,
        "cls+avg": torch.cat([tokens, layers[-1][0].mean(dim=1)], dim=1),
        "avg": torch.cat([patches.mean(dim=1) for patches, _ in layers], dim=1),
        "max": torch.cat([patches.amax(dim=1) for patches, _ in layers], dim=1),
    }
    h = feature(backbone.forward_stages(x, ["last4"])["last4"])
    for pool, there in expected.items():
        assert torch.allclose(backbone.pooled("last4", h, pool), there, atol=1e-6), pool
        assert backbone.width("last4", pool) == there.shape[1]
    assert backbone.pooled("last4", h, "grid2").shape == (2, 4 * 48 * 4)


@torch.no_grad()
def test_one_pass_and_copies() -> None:
    backbone, original, x = built(DINO, FLAT[DINO])
    with FlopCounterMode(display=False) as plain:
        backbone.truncate("stage5")(x)
    with FlopCounterMode(display=False) as all_of_them:
        backbone.forward_stages(x, ["stage2", "last3", "last4"])
    assert all_of_them.get_total_flops() == plain.get_total_flops()
    short = copy.deepcopy(fold_batch_norm(backbone.truncate("last2")).truncate("last4"))
    assert torch.equal(feature(short.states(x, ["last4"])["last4"]), timms(original, x, 4))
    state = backbone.truncate("last4").original_state_dict()
    assert list(state) == list(backbone.truncate("stage5").original_state_dict())


def test_a_model_on_the_last_blocks_is_saved_and_loaded(tmp_path: Path) -> None:
    backbone, _, x = built(DINO, FLAT[DINO])
    model = TransferModel(backbone, nn.Linear(2 * 48, 3), ["a", "b", "c"], ["last2"]).eval()
    save_model(tmp_path, model)
    loaded = load_model(tmp_path)
    assert loaded.stages == ["last2"]
    with torch.inference_mode():
        assert torch.equal(loaded(x), model(x))


def refused(backbone: Backbone, name: str) -> str:
    with pytest.raises(TransferkitError) as error:
        backbone.match([name], "strategy.probe.stages", head=False)
    return str(error.value)


def test_networks_without_such_blocks_say_so() -> None:
    resnet = create_backbone("resnet18", weights=None)
    assert refused(resnet, "last4") == (
        "strategy.probe.stages: last4 is the output of the last blocks of a transformer, but resnet18 has no blocks of "
        "one width with a norm after the last: name stages instead (stage5), or use another network, for example "
        "backbone=timm backbone.name=vit_small_patch14_dinov2."
    )
    dino = built(DINO, FLAT[DINO])[0]
    assert refused(dino, "last5") == f"strategy.probe.stages: there is no last5: {DINO} has 4 blocks, last1 to last4."
    for name in ("last0", "last04", "last", "last-1"):
        assert f"no stage like {name}" in refused(dino, name) or name in refused(dino, name)
    for name in ("xcit_nano_12_p16_224", "levit_128"):
        assert "has no blocks of one width" in refused(built(name, (FLAT | HIERARCHICAL)[name])[0], "last2")
    with pytest.raises(TransferkitError, match="last2 is the output of the last blocks"):
        dino.truncate("stage4").truncate("last2")
