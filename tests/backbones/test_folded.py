from typing import cast

import pytest
import torch
from torch import nn

from transferkit.backbones.backbone import Backbone
from transferkit.backbones.create import create_backbone
from transferkit.backbones.folded import fold_batch_norm


def lively(name: str, source: str) -> Backbone:
    """A network whose batch norm does something in eval mode."""
    torch.manual_seed(0)
    backbone = create_backbone(name, weights=None, source=source, input_size=64)
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    return backbone.eval()


NETWORKS = [
    *(("resnet18", "torchvision"), ("mobilenet_v2", "torchvision")),
    pytest.param("vgg11_bn", "torchvision", marks=pytest.mark.slow),
    *(("densenet121", "torchvision"), ("googlenet", "torchvision"), ("efficientnet_b0", "torchvision")),
    *(("mobilenetv2_100", "timm"), ("convnext_atto", "timm"), ("narrow_resnet10", "embedded")),
]


@pytest.mark.parametrize(("name", "source"), NETWORKS)
def test_every_stage_gives_what_it_gave(name: str, source: str) -> None:
    backbone = lively(name, source)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    folded = fold_batch_norm(backbone)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected, got = backbone.forward_stages(images), folded.forward_stages(images)
    for stage, state in expected.items():
        assert isinstance(state, torch.Tensor)
        torch.testing.assert_close(got[stage], state, rtol=1e-3, atol=1e-4 * float(state.abs().max()))
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


@pytest.mark.parametrize(("name", "source"), [("resnet18", "torchvision"), ("mobilenetv2_100", "timm")])
def test_no_batch_norm_is_left(name: str, source: str) -> None:
    folded = fold_batch_norm(lively(name, source))
    graphs = [cast(torch.fx.GraphModule, stage) for stage in folded.stages.values()]
    called = [
        stage.get_submodule(str(n.target)) for stage in graphs for n in stage.graph.nodes if n.op == "call_module"
    ]
    kinds = {type(module) for module in called}
    assert len(called) > 20
    assert nn.Conv2d in kinds
    assert not any(issubclass(kind, nn.BatchNorm2d) for kind in kinds)
    assert not any(p.requires_grad for p in folded.parameters())


def test_a_convolution_that_is_called_twice_is_left_alone() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bn = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.bn(self.conv(self.bn(self.conv(x))))
            return y

    backbone = lively("resnet18", "torchvision")
    stage = torch.fx.symbolic_trace(Twice()).eval()
    nn.init.uniform_(stage.get_buffer("bn.running_var"), 2, 4)
    backbone.stages["stage1"] = stage
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        got = fold_batch_norm(backbone).forward_stages(images, ["stage1"])["stage1"]
        torch.testing.assert_close(got, stage(images))
