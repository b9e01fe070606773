"""The table of layers of every file of conf/backbone, against torch's own counts."""

from typing import Any

import pytest
from omegaconf import OmegaConf
from torch.utils.flop_counter import FlopCounterMode

from tests.conf.test_backbone import CONF, SMALLER
from transferkit.backbones.without_memory import backbone_without_memory
from transferkit.inspection.inspected import inspect_layers
from transferkit.inspection.layers import by_stage

FILES: dict[str, Any] = {path.stem: OmegaConf.load(path) for path in sorted((CONF / "backbone").glob("*.yaml"))}
OPEN = {"timm": "test_vit", "torchvision": "squeezenet1_1"}
"""A network for each file that names none."""
LARGER = {
    *("resnet34", "resnet101", "resnet152", "wide_resnet50_2", "resnext50_32x4d", "plain34", "senet154"),
    *("vgg13", "vgg19", "vgg11_bn", "vgg13_bn", "vgg19_bn", "mobilenet_v3_large", "googlenet_aux", "nasnetalarge"),
    *("inception_v4", "densenet121", "efficientnet_lite1", "efficientnet_lite2", "resnet_fractals"),
}
"""Networks built of the same layers as one of the others."""


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in LARGER else n for n in FILES])
def test_the_rows_add_up_to_the_network(name: str) -> None:
    file = FILES[name]
    kwargs = {**file.get("kwargs", {}), **SMALLER.get(name, {})}
    backbone = backbone_without_memory({"name": OPEN.get(name) or file.name, "source": file.source, "kwargs": kwargs})
    with FlopCounterMode(display=False) as counter:
        layers = inspect_layers(backbone)
    assert sum(layer.parameters for layer in layers) == sum(p.numel() for p in backbone.parameters()) > 0
    assert 2 * sum(layer.multiply_adds for layer in layers) == counter.get_total_flops() > 0
    assert list(by_stage(layers)) == list(backbone.stage_names)
    assert all(layer.multiply_adds > 0 for layer in layers if layer.kind in ("convolution", "linear"))
