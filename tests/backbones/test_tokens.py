"""Transformers and other networks of tokens, small members of their families: the same as the original."""

import copy
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from tests.backbones.networks import assert_same_as_original, randomise_statistics
from transferkit.backbones.backbone import Backbone
from transferkit.backbones.create import create_backbone
from transferkit.backbones.cut import cut
from transferkit.backbones.pooling import feature_map
from transferkit.backbones.stage_sequence import BackboneSpec, feature
from transferkit.backbones.stages import StageInfo
from transferkit.data.preprocess import Preprocessing
from transferkit.errors import TransferkitError

TINY = {"num_classes": 5, "img_size": 32}
FLAT: dict[str, dict[str, Any]] = {
    "deit3_small_patch16_224": {**TINY, "depth": 6, "embed_dim": 48, "num_heads": 3},
    "vit_small_patch14_dinov2": {**TINY, "img_size": 42, "depth": 8, "embed_dim": 48, "num_heads": 3},
    "vit_small_patch14_reg4_dinov2": {**TINY, "img_size": [28, 42], "depth": 4, "embed_dim": 48, "num_heads": 3},
    "vit_small_patch16_dinov3": {**TINY, "depth": 4, "embed_dim": 48, "num_heads": 3},
    "vit_base_patch16_clip_224": {**TINY, "depth": 4, "embed_dim": 48, "num_heads": 3},
    "vit_base_patch16_siglip_224": {**TINY, "depth": 4, "embed_dim": 48, "num_heads": 3},
    "eva02_tiny_patch14_224": {**TINY, "img_size": 42, "depth": 5, "embed_dim": 48, "num_heads": 3},
    "xcit_nano_12_p16_224": {"num_classes": 5, "img_size": 64, "depth": 4, "embed_dim": 64},
    "mixer_s32_224": {"num_classes": 5, "img_size": 64},
}
HIERARCHICAL: dict[str, dict[str, Any]] = {
    "swin_tiny_patch4_window7_224": {
        **{"num_classes": 5, "img_size": 64, "window_size": 2, "embed_dim": 24, "depths": [2, 2, 2, 2]},
    },
    "swinv2_tiny_window8_256": {
        **{"num_classes": 5, "img_size": 64, "window_size": 2, "embed_dim": 24, "depths": [2, 2, 2, 2]},
    },
    "levit_128": {"num_classes": 5, "img_size": 64, "depth": [1, 1, 1]},
    "efficientformer_l1": {"num_classes": 5},
}


def built(name: str, kwargs: dict[str, Any]) -> tuple[Backbone, Any, Tensor]:
    """The backbone, timm's network with the same weights, and images."""
    torch.manual_seed(0)
    backbone = create_backbone(name, weights=None, source="timm", kwargs=kwargs)
    for parameter in backbone.parameters():
        if parameter.numel() and not parameter.abs().max() > 1e-3:
            nn.init.normal_(parameter, std=0.1)  # class tokens and layer scales that start at nothing hide mistakes
    randomise_statistics(backbone)
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in kwargs.items()}
    original = timm.create_model(name, **given)
    original.load_state_dict(backbone.original_state_dict(), strict=True)
    return backbone, original.eval(), torch.randn(2, 3, *backbone.preprocess.input_size)


@pytest.mark.parametrize("name", FLAT | HIERARCHICAL)
@torch.no_grad()
def test_stages_intermediate_states_and_pooled_features_are_timms(name):
    backbone, original, x = built(name, (FLAT | HIERARCHICAL)[name])
    assert_same_as_original(backbone, original, x)
    states = backbone.forward_stages(x)
    assert all(isinstance(state, Tensor) for state in states.values())
    top = backbone.top
    expected = original.forward_head(original.forward_features(x), pre_logits=True)
    for pool in ("native", "auto"):
        assert torch.allclose(backbone.pooled(top, feature(states[top]), pool), expected, atol=1e-5)
    assert backbone.width(top) == expected.shape[1]
    maps = original.forward_intermediates(x, intermediates_only=True)
    if name in FLAT:  # the third, sixth and ninth of twelve blocks
        assert backbone.feature_stages == ("stage1", "stage2", "stage3", "stage4", "stage5")
        inner = {f"stage{k + 1}": maps[(len(maps) * k + 2) // 4 - 1] for k in (1, 2, 3)}
    else:
        inner = dict(zip(backbone.feature_stages[-len(maps) : -1], maps[:-1], strict=True))
    for stage, there in inner.items():
        assert torch.allclose(feature_map(feature(states[stage]), backbone.infos[stage]), there, atol=1e-6)


@pytest.mark.parametrize("name", ["vit_small_patch14_reg4_dinov2", "xcit_nano_12_p16_224", "mixer_s32_224"])
def test_the_same_in_training(name):
    backbone, original, x = built(name, FLAT[name])
    assert torch.equal(feature(backbone.train()(x)), original.train()(x))


def test_blocks_of_convolutions_of_one_stride_are_grouped_too():
    torch.manual_seed(0)
    model = timm.models.convmixer.ConvMixer(8, 10, kernel_size=3, patch_size=7, num_classes=5).eval()
    original = copy.deepcopy(model)
    backbone = Backbone(*cut(model, (56, 56), "convmixer"), Preprocessing(), BackboneSpec("timm", "convmixer")).eval()
    assert_same_as_original(backbone, original, torch.randn(2, 3, 56, 56))
    assert backbone.infos["stage3"] == StageInfo("stage3", 8, 7, "map", grid=(8, 8))
    names = [[name.split(".") for name, _ in stage.named_parameters()] for stage in backbone.stages.values()]
    depths = [len({parts[1] for parts in stage if parts[0] == "blocks"}) for stage in names]
    assert depths == [0, 3, 2, 3, 2, 0]


def test_what_leaves_a_stage_is_described():
    infos = built("vit_small_patch14_reg4_dinov2", FLAT["vit_small_patch14_reg4_dinov2"])[0].infos
    assert infos["stage2"] == StageInfo("stage2", 48, 14, "tokens", prefix_tokens=5, grid=(2, 3), pool="cls")
    assert infos["stage5"] == StageInfo("stage5", 48, 14, "tokens", 5, (2, 3), pool="cls", native=True)
    assert infos["head"].kind == "vector"
    assert not infos["stage2"].spatial


POOLING = {
    "vit_small_patch14_reg4_dinov2": ("cls", "cls"),
    "vit_small_patch16_dinov3": ("avg", "avg"),
    "vit_base_patch16_siglip_224": ("native", "avg"),  # attention with one learned query
    "xcit_nano_12_p16_224": ("cls", "avg"),  # the class token comes after the blocks
    "mixer_s32_224": ("avg", "avg"),
}


@pytest.mark.parametrize("name", POOLING)
def test_the_usual_pooling_is_what_the_classifier_takes(name):
    infos = built(name, FLAT[name])[0].infos
    assert (infos["stage5"].pool, infos["stage3"].pool) == POOLING[name]


@torch.no_grad()
def test_pools_of_tokens():
    backbone, _, x = built("vit_small_patch14_reg4_dinov2", FLAT["vit_small_patch14_reg4_dinov2"])
    h = feature(backbone.forward_stages(x, ["stage4"])["stage4"])
    patches = h[:, 5:]
    assert torch.equal(backbone.pooled("stage4", h, "cls"), h[:, 0])
    assert torch.equal(backbone.pooled("stage4", h, "avg"), patches.mean(dim=1))
    assert torch.equal(backbone.pooled("stage4", h, "max"), patches.amax(dim=1))
    assert torch.equal(backbone.pooled("stage4", h, "cls+avg"), torch.cat([h[:, 0], patches.mean(dim=1)], dim=1))
    halves = patches.reshape(2, 2, 3, 48)
    left = backbone.pooled("stage4", h, "grid2").reshape(2, 48, 2, 2)[:, :, 0, 0]
    assert torch.allclose(left, halves[:, 0, :2].mean(dim=1), atol=1e-6)
    for pool in ("avg", "cls+avg", "grid2"):
        assert backbone.width("stage4", pool) == backbone.pooled("stage4", h, pool).shape[1]
    with pytest.raises(TransferkitError, match="pool=native: stage4 has no pooling of its own"):
        backbone.pooled("stage4", h, "native")


def test_a_network_without_class_token_says_so():
    backbone, _, x = built("mixer_s32_224", FLAT["mixer_s32_224"])
    with pytest.raises(TransferkitError, match="pool=cls: stage5 has no class token; auto, avg or max"):
        backbone.pooled("stage5", feature(backbone.forward_stages(x, ["stage5"])["stage5"]), "cls")


@torch.inference_mode()
@pytest.mark.parametrize("kind", ["vit", "swin"])
def test_small_networks_of_torchvision(kind):
    torch.manual_seed(0)
    if kind == "vit":
        model: nn.Module = torchvision.models.VisionTransformer(32, 8, 4, 3, 48, 96, num_classes=5)
        nn.init.normal_(model.get_parameter("heads.head.weight"))  # zero
    else:
        model = torchvision.models.SwinTransformer([4, 4], 24, [2, 2, 2, 2], [1, 2, 3, 4], [2, 2], num_classes=5)
    original = copy.deepcopy(model).eval()
    backbone = Backbone(*cut(model, (32, 32), kind), Preprocessing(), BackboneSpec("torchvision", kind)).eval()
    assert_same_as_original(backbone, original, torch.randn(2, 3, 32, 32))
    assert backbone.original_state_dict().keys() == original.state_dict().keys()
    assert backbone.infos[backbone.top].pool == ("cls" if kind == "vit" else "avg")


@pytest.mark.slow
@torch.inference_mode()
@pytest.mark.parametrize("name", ["vit_b_16", "swin_t", "maxvit_t"])
def test_networks_of_torchvision(name):
    backbone = create_backbone(name, weights=None, source="torchvision", kwargs={"num_classes": 5})
    nn.init.normal_(dict(backbone.stages["head"].named_parameters()).popitem()[1])  # zero in vit_b_16
    original = torchvision.models.get_model(name, weights=None, num_classes=5)
    original.load_state_dict(backbone.original_state_dict(), strict=True)
    assert_same_as_original(backbone, original.eval(), torch.randn(1, 3, 224, 224))
    assert backbone.infos[backbone.top].pool == ("cls" if name == "vit_b_16" else "avg")


@torch.no_grad()
def test_a_stage_does_not_keep_the_number_of_images_of_the_trace():
    backbone, original, x = built("xcit_nano_12_p16_224", FLAT["xcit_nano_12_p16_224"])
    state = backbone.forward_stages(torch.cat([x, x, x]), ["stage3"])["stage3"]
    assert torch.allclose(feature(backbone.forward_from("stage3", state))[:2], original(x), atol=1e-5)


def test_copies_truncated_and_original_names():
    backbone, original, x = built("vit_base_patch16_siglip_224", FLAT["vit_base_patch16_siglip_224"])
    assert backbone.original_state_dict().keys() == original.state_dict().keys()
    short = copy.deepcopy(backbone).truncate("stage5")
    assert any("attn_pool" in name for name in short.original_state_dict())  # its pooling goes with the stage
    with torch.no_grad():
        expected = backbone.pooled("stage5", feature(backbone.forward_stages(x)["stage5"]))
        assert torch.equal(short.pooled("stage5", feature(short(x))), expected)
    assert "attn_pool.latent" not in backbone.truncate("stage4").original_state_dict()
