"""Every file of conf/backbone that names a network: the same as the original, cut where it should be."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tests.backbones.networks import assert_same_as_original, original_of, randomise_statistics
from transferkit.backbones.backbone import feature
from transferkit.backbones.create import create_backbone_from_config

CONF = Path(__file__).parents[2] / "conf"

VGG = {1: 64, 2: 128, 3: 256, 4: 512, 5: 512, "fc6": 4096, "fc7": 4096}
BASIC = {1: 64, 2: 64, 3: 128, 4: 256, 5: 512}
BOTTLENECK = {1: 64, 2: 256, 3: 512, 4: 1024, 5: 2048}
CHANNELS: dict[str, dict[Any, int]] = {
    **{f"vgg{depth}{norm}": VGG for depth in (11, 13, 16, 19) for norm in ("", "_bn")},
    **dict.fromkeys(["resnet18", "resnet34"], BASIC),
    **dict.fromkeys(["resnet50", "resnet101", "resnet152", "wide_resnet50_2", "resnext50_32x4d"], BOTTLENECK),
    "alexnet": {2: 64, 3: 192, 4: 384, 5: 256, "fc6": 4096, "fc7": 4096},
    "googlenet": {1: 64, 2: 192, 3: 480, 4: 832, 5: 1024},
    "densenet121": {1: 64, 2: 256, 3: 512, 4: 1024, 5: 1024},
    "mobilenet_v2": {1: 16, 2: 24, 3: 32, 4: 96, 5: 1280},
    "mobilenet_v3_small": {1: 16, 2: 16, 3: 24, 4: 48, 5: 576},
    "efficientnet_b0": {1: 16, 2: 24, 3: 40, 4: 112, 5: 1280},
}
"""Stage (K: the canonical stage of stride 2**K) to channels, from the papers' tables and torchvision's code."""

FIXED = {"googlenet": {"aux_logits": False, "init_weights": False}}


def load(name: str, *overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(f"backbone/{name}", overrides=list(overrides))
    loaded: Any = OmegaConf.to_container(config.backbone)
    return dict(loaded)


def test_every_file_is_tested():
    named = {path.stem for path in (CONF / "backbone").glob("*.yaml") if load(path.stem)["source"] == "torchvision"}
    assert named == {*CHANNELS, "torchvision"}


@pytest.mark.parametrize("name", CHANNELS)
def test_the_stages_are_the_original_network(name):
    backbone = create_backbone_from_config(load(name, "backbone.weights=null"))
    randomise_statistics(backbone)
    original = original_of(torchvision.models.get_model, backbone, name=name, **FIXED.get(name, {}))
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert_same_as_original(backbone, original, x)

    expected = {f"stage{stage}" if isinstance(stage, int) else stage: n for stage, n in CHANNELS[name].items()}
    assert {stage: info.channels for stage, info in backbone.infos.items()} == {**expected, "head": 1000}
    for stage, state in backbone.forward_stages(x).items():
        info = backbone.infos[stage]
        assert feature(state).shape[1] == info.channels
        assert info.spatial == stage.startswith("stage")
        if info.spatial:
            assert info.stride == 2 ** int(stage[-1])
            # AlexNet's first convolution and its poolings lack a pixel of padding: 15, 7, 3, 1.
            assert feature(state).shape[2] == 64 // info.stride - (name == "alexnet")
            assert any(True for _ in backbone.stages[stage].parameters())


def test_the_timm_file_takes_keyword_arguments():
    overrides = ["backbone.name=mobilenetv2_100", "backbone.weights=null", "+backbone.kwargs.pad_type=same"]
    backbone = create_backbone_from_config(load("timm", *overrides, "backbone.mean=0.5"))
    assert any(type(module).__name__ == "Conv2dSame" for module in backbone.modules())
    assert backbone.spec.kwargs == {"pad_type": "same"}
    assert backbone.preprocess.mean == (0.5, 0.5, 0.5)


def test_the_torchvision_file_takes_any_of_its_networks():
    backbone = create_backbone_from_config(
        load("torchvision", "backbone.name=shufflenet_v2_x0_5", "backbone.weights=null")
    )
    assert backbone.infos["stage5"].channels == 1024
