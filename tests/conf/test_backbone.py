"""Every file of conf/backbone that names a network: the same as the original, cut where it should be."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tests.backbones.networks import (
    assert_same_as_original,
    original_of,
    quick_initialisation,
    randomise_statistics,
)
from transferkit.backbones.classic import CLASSIC
from transferkit.backbones.create import create_backbone_from_config
from transferkit.backbones.stage_sequence import feature

CONF = Path(__file__).parents[2] / "conf"

VGG = {1: 64, 2: 128, 3: 256, 4: 512, 5: 512, "fc6": 32, "fc7": 32}  # narrow; AlexNet's fully connected layers are not
BASIC = {1: 64, 2: 64, 3: 128, 4: 256, 5: 512}
BOTTLENECK = {1: 64, 2: 256, 3: 512, 4: 1024, 5: 2048}
CHANNELS: dict[str, dict[Any, int]] = {
    **{f"vgg{depth}{norm}": VGG for depth in (11, 13, 16, 19) for norm in ("", "_bn")},
    **dict.fromkeys(["resnet18", "resnet34", "plain18", "plain34"], BASIC),
    **dict.fromkeys(["resnet50", "resnet101", "resnet152", "wide_resnet50_2", "resnext50_32x4d"], BOTTLENECK),
    "seresnet50": BOTTLENECK,
    "senet154": BOTTLENECK | {1: 128},
    "lenet5": {1: 6, 2: 16, "fc6": 120, "fc7": 84},
    "alexnet": {2: 64, 3: 192, 4: 384, 5: 256, "fc6": 4096, "fc7": 4096},
    "alexnet_lrn": {2: 96, 3: 256, 4: 384, 5: 256, "fc6": 32, "fc7": 32},
    "alexnet_two_tower": {2: 96, 3: 256, 4: 384, 5: 256, "fc6": 32, "fc7": 32},
    "zfnet": {1: 96, 3: 256, 4: 512, 5: 512, "fc6": 32, "fc7": 32},
    **dict.fromkeys(["vgg11_lrn", "vgg16_c"], VGG),
    "googlenet": {1: 64, 2: 192, 3: 480, 4: 832, 5: 1024},
    "inception_v4": {1: 64, 2: 160, 3: 384, 4: 1024, 5: 1536},
    "densenet121": {1: 64, 2: 256, 3: 512, 4: 1024, 5: 1024},
    "mobilenetv1_100": {1: 64, 2: 128, 3: 256, 4: 512, 5: 1024},
    "mobilenet_v2": {1: 16, 2: 24, 3: 32, 4: 96, 5: 1280},
    "mobilenet_v3_small": {1: 16, 2: 16, 3: 24, 4: 48, 5: 576},
    "mobilenet_v3_large": {1: 16, 2: 24, 3: 40, 4: 112, 5: 960},
    "shufflenet_v2_x1_0": {1: 24, 3: 116, 4: 232, 5: 1024},
    "nasnetalarge": {1: 16, 2: 8, 3: 48, 4: 96, 5: 192},
    "efficientnet_b0": {1: 16, 2: 24, 3: 40, 4: 112, 5: 1280},
}
"""Stage (K: the canonical stage of stride 2**K) to channels, from the papers' tables and the libraries' code."""

SMALLER: dict[str, dict[str, Any]] = {
    "senet154": {"layers": [1, 1, 1, 1], "base_width": 2},
    "nasnetalarge": {"stem_size": 16, "num_features": 192},
    **{name: {"hidden": 32} for name in ("alexnet_lrn", "alexnet_two_tower", "zfnet", "vgg11_lrn", "vgg16_c")},
}
"""Keyword arguments that make a large network quick: fewer blocks of the same kind, or fewer channels."""

UNPADDED = {"lenet5", "alexnet", "alexnet_lrn", "alexnet_two_tower", "zfnet", "inception_v4", "nasnetalarge"}
"""Networks whose maps lose pixels at the border."""

BUILDERS: dict[str, Any] = {
    "torchvision": torchvision.models.get_model,
    "timm": timm.create_model,
    "classic": lambda name, **kwargs: CLASSIC[name](**kwargs),
}


def load(name: str, *overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(f"backbone/{name}", overrides=list(overrides))
    loaded: Any = OmegaConf.to_container(config.backbone)
    return dict(loaded)


def test_every_file_is_tested():
    files = (CONF / "backbone").glob("*.yaml")
    named = {path.stem for path in files if OmegaConf.load(path).source in BUILDERS}
    elsewhere = {"googlenet_aux", "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"}
    assert named == {*CHANNELS, "torchvision", "timm"} | elsewhere  # test_auxiliary.py, test_packaged_weights.py


LARGE = ("inception_v4", "nasnetalarge", "resnet152", "resnext50_32x4d", "senet154", "seresnet50", "wide_resnet50_2")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in LARGE else n for n in CHANNELS])
def test_the_stages_are_the_original_network(name):
    config = load(name, "backbone.weights=null")
    config["kwargs"] |= SMALLER.get(name, {})
    kwargs = {"aux_logits": False, "init_weights": False} if name == "googlenet" else config["kwargs"]
    with quick_initialisation(narrow=name.startswith("vgg")):
        backbone = create_backbone_from_config(config)
        randomise_statistics(backbone)
        original = original_of(partial(BUILDERS[config["source"]], name), backbone, **kwargs)
    size = 96 if name in UNPADDED else 64
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    assert_same_as_original(backbone, original, x)

    expected = {f"stage{stage}" if isinstance(stage, int) else stage: n for stage, n in CHANNELS[name].items()}
    classes = 10 if name == "lenet5" else 1000
    assert {stage: info.channels for stage, info in backbone.infos.items()} == {**expected, "head": classes}
    for stage, state in backbone.forward_stages(x).items():
        info = backbone.infos[stage]
        assert feature(state).shape[1] == info.channels
        assert info.spatial == stage.startswith("stage")
        if info.spatial:
            assert info.stride == 2 ** int(stage[-1])
            assert size // info.stride - 3 * (name in UNPADDED) <= feature(state).shape[2] <= size // info.stride
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
