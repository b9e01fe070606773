"""Cutting small networks that each have one difficulty."""

import operator

import pytest
import torch
from torch import Tensor, nn

from transferkit.backbones.backbone import Backbone
from transferkit.backbones.cut import cut
from transferkit.backbones.stage_sequence import BackboneSpec, feature
from transferkit.data.preprocess import Preprocessing
from transferkit.errors import TransferkitError


def conv(channels_in: int, channels_out: int) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, 3, stride=2, padding=1)


class Net(nn.Module):
    """Three blocks of stride 2 and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(conv(3, 4), conv(4, 5), conv(5, 6))
        self.fc = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.blocks(x).mean(dim=(2, 3)))
        return logits


class InPlace(Net):
    """The second block starts by overwriting its input, as a pre-activation network may."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(conv(3, 4), nn.Sequential(nn.ReLU(inplace=True), conv(4, 5)), conv(5, 6))


class Skip(Net):
    """The first feature is used again by the last block, so that two values leave the second."""

    feature_info = [{"module": f"blocks.{i}", "reduction": 2 ** (i + 1)} for i in range(3)]  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.shortcut = nn.Conv2d(4, 6, 1, stride=4)

    def forward(self, x: Tensor) -> Tensor:
        first = self.blocks[0](x)
        last = self.blocks[2](self.blocks[1](first)) + self.shortcut(first)
        logits: Tensor = self.fc(last.mean(dim=(2, 3)))
        return logits


class Constants(Net):
    """A parameter, a buffer and one that is not saved, read by the network itself; the same parameter in two stages."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("offset", torch.tensor(0.5))
        self.register_buffer("secret", torch.tensor(0.25), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = operator.mul(self.blocks[0](x), self.scale)
        x = self.blocks[1](x) * self.scale + self.offset
        logits: Tensor = self.fc(self.blocks[2](x).mean(dim=(2, 3)) + self.secret)
        return logits


class Dropping(Net):
    def forward(self, x: Tensor) -> Tensor:
        h = nn.functional.dropout(self.blocks(x).mean(dim=(2, 3)), p=0.5, training=self.training)
        logits: Tensor = self.fc(h)
        return logits


def backbone_of(model: nn.Module) -> Backbone:
    return Backbone(*cut(model, (64, 64), "net"), Preprocessing(), BackboneSpec("test", "net")).eval()


@pytest.mark.parametrize("kind", [Net, InPlace, Skip, Constants, Dropping])
@torch.inference_mode()
def test_stages_equal_the_network_and_leave_their_input_alone(kind):
    torch.manual_seed(0)
    model = kind().eval()
    backbone = backbone_of(model)
    assert [info.channels for info in backbone.infos.values()] == [4, 5, 6, 2]
    x = torch.randn(2, 3, 64, 64)
    states = backbone.forward_stages(x)
    for stage, state in states.items():
        for _ in range(2):  # the second time shows whether the first has changed the state
            assert torch.equal(feature(backbone.forward_from(stage, state)), model(x))
    assert backbone.original_state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in backbone.original_state_dict().items())


def test_parameters_are_the_networks_own():
    model = Constants()
    backbone = backbone_of(model)
    assert {id(p) for p in backbone.parameters()} == {id(p) for p in model.parameters()}


def test_a_skip_past_a_cut_makes_the_state_a_tuple_with_the_feature_last():
    states = backbone_of(Skip()).forward_stages(torch.randn(1, 3, 64, 64))
    assert isinstance(states["stage1"], Tensor)
    assert [value.shape[1] for value in states["stage2"]] == [4, 5]


def test_a_declared_feature_whose_measured_stride_differs_is_not_believed():
    class Lying(Net):
        feature_info = [{"module": f"blocks.{i}", "reduction": 2} for i in range(3)]  # noqa: RUF012

    assert {name: info.stride for name, info in backbone_of(Lying()).infos.items()} == {
        "stage1": 2, "stage2": 4, "stage3": 8, "head": 8,
    }  # fmt: skip


def test_dropout_of_a_function_works_in_training_only():
    backbone = backbone_of(Dropping())
    x = torch.randn(8, 3, 64, 64)
    assert torch.equal(backbone(x), backbone(x))
    backbone.train()
    assert not torch.equal(backbone(x), backbone(x))


class Branching(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if x.sum() > 0 else super().forward(-x)


class TwoOutputs(Net):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return super().forward(x), x


@pytest.mark.parametrize("kind", [Branching, TwoOutputs])
def test_what_cannot_be_traced_is_one_clear_error(kind):
    with pytest.raises(TransferkitError, match="net cannot be cut into stages: it cannot be traced") as caught:
        cut(kind(), (64, 64), "net")
    assert "\n" not in str(caught.value)
