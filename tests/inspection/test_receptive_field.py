"""Receptive fields, against the table of Araujo, Norris & Sim 2019 (Distill) and against gradients."""

import pytest
import torch
from torch import Tensor, nn

from transferkit.backbones.without_memory import backbone_without_memory
from transferkit.inspection.inspected import inspect_layers
from transferkit.inspection.layers import by_stage
from transferkit.inspection.watch import watch


@pytest.mark.parametrize(
    ("name", "size"), [("alexnet", 195), ("vgg16", 212), ("mobilenetv1_100", 315), ("inception_v3", 1311)]
)
def test_of_the_last_map(name: str, size: int) -> None:
    layers = by_stage(inspect_layers(backbone_without_memory({"name": name, "weights": None})))
    field = layers["stage5"][-1].field
    assert field is not None
    assert field.size == (size, size)
    assert field.step == (32, 32)


class Branches(nn.Module):
    """Dilation, uneven kernels, a pool, a residual sum, a concatenation, a gate by channel, halves of channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.wide = nn.Conv2d(8, 8, 3, padding=2, dilation=2)
        self.tall = nn.Conv2d(4, 4, (5, 1), padding=(2, 0))
        self.gate = nn.Conv2d(8, 8, 1)
        self.pool = nn.AvgPool2d(3, 2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.wide(x)
        first, second = x.chunk(2, dim=1)
        x = torch.cat([first, self.tall(second)], dim=1)
        weights = self.gate(x.mean((2, 3), keepdim=True))
        pooled: Tensor = self.pool(x * weights.detach())  # the gate sees everything, and is not counted
        return pooled


def test_it_is_where_the_gradient_is() -> None:
    torch.manual_seed(0)
    network = Branches().double().eval()
    image = torch.rand(1, 3, 64, 64, dtype=torch.double, requires_grad=True)
    output = network(image)
    output[0, :, 8, 8].sum().backward()
    assert image.grad is not None
    rows, columns = (image.grad.abs().sum((0, 1)).sum(axis).nonzero() for axis in (1, 0))
    seen = int(rows.max() - rows.min() + 1), int(columns.max() - columns.min() + 1)
    field = watch({"network": network}, image.detach())[0][-1].field
    assert field is not None
    assert field.size == seen
    assert (field.step, field.grid, field.extent) == ((4, 4), (16, 16), "pixels")


class TokenMixing(nn.Module):
    """A linear layer over the positions, as in an MLP-Mixer."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 6, 8, stride=8)
        self.channels = nn.Linear(6, 6)
        self.tokens = nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.channels(self.patches(x).flatten(2).transpose(1, 2))
        mixed: Tensor = self.tokens(x.transpose(1, 2))
        return mixed


def test_mixing_of_positions_is_global() -> None:
    rows = watch({"network": TokenMixing().eval()}, torch.zeros(1, 3, 32, 32))[0]
    assert [row.field.text for row in rows[1:] if row.field] == ["8", "8", "global"]


def test_space_to_depth_is_a_stride() -> None:
    network = nn.Sequential(nn.PixelUnshuffle(4), nn.Conv2d(48, 4, 3, padding=1)).eval()
    field = watch({"network": network}, torch.zeros(1, 3, 32, 32))[0][-1].field
    assert field is not None
    assert (field.size, field.step) == ((12, 12), (4, 4))
