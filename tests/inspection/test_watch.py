"""Rows of networks, against the tables of their papers and of the course that they are taken from."""

from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from transferkit.backbones.create import create_backbone
from transferkit.backbones.without_memory import backbone_without_memory
from transferkit.inspection.inspected import inspect_layers
from transferkit.inspection.layers import Layer, add_up, by_stage
from transferkit.inspection.watch import watch

# VGG16, configuration D (Simonyan & Zisserman 2014) at 224 x 224: output values, and weights without biases, by layer.
VGG16 = [
    *[(150_528, 0), (3_211_264, 1_728), (3_211_264, 36_864), (802_816, 0)],
    *[(1_605_632, 73_728), (1_605_632, 147_456), (401_408, 0)],
    *[(802_816, 294_912), (802_816, 589_824), (802_816, 589_824), (200_704, 0)],
    *[(401_408, 1_179_648), (401_408, 2_359_296), (401_408, 2_359_296), (100_352, 0)],
    *[(100_352, 2_359_296), (100_352, 2_359_296), (100_352, 2_359_296), (25_088, 0)],
    *[(4_096, 102_760_448), (4_096, 16_777_216), (1_000, 4_096_000)],
]


def rows_of(name: str, **more: Any) -> list[Layer]:
    return inspect_layers(backbone_without_memory({"name": name, "weights": None, **more}))


def rows_on_meta(network: nn.Module, side: int, channels: int = 3) -> list[Layer]:
    image = torch.zeros(1, channels, side, side, device="meta")
    return watch({"network": network.to("meta").eval()}, image)[0][1:]


def test_the_rows_of_vgg16() -> None:
    rows = [row for row in rows_of("vgg16") if row.name != "avgpool"]  # torchvision's, which does nothing at 224
    assert [(row.values, row.weights) for row in rows] == VGG16
    assert [row.biases for row in rows if row.weights] == [row.filters for row in rows if row.weights]
    first, pool = rows[1], rows[3]
    assert (first.kind, first.filters, first.kernel, first.stride, first.padding) == (
        *("convolution", 64, (3, 3), (1, 1), (1, 1)),
    )
    assert (pool.kind, pool.kernel, pool.stride, pool.padding) == ("max pool", (2, 2), (2, 2), (0, 0))
    assert {row.activation for row in rows if row.weights and row.stage != "head"} == {"ReLU"}
    assert rows[-1].activation == ""


def test_the_sums_of_vgg16() -> None:
    rows = rows_of("vgg16")
    total = add_up(rows)
    assert total.parameters == 138_357_544
    assert round(total.values / 1e6, 1) == 15.3  # of which the 25,088 of the idle pooling
    assert round(100 * max(row.weights for row in rows) / total.weights) == 74
    assert [row.output for row in rows if row.name == "features.30"] == [(512, 7, 7)]
    early = sum(row.values for row in rows if row.stage in ("stage1", "stage2"))
    assert early > 0.7 * total.values  # most memory in the early layers, most parameters in the first linear one


def test_the_shapes_of_alexnet() -> None:
    """Krizhevsky 2012 with 227 x 227 pixels, one tower."""
    network = nn.Sequential(
        *(nn.Conv2d(3, 96, 11, 4), nn.ReLU(True), nn.MaxPool2d(3, 2), nn.LocalResponseNorm(5)),
        *(nn.Conv2d(96, 256, 5, padding=2), nn.ReLU(True), nn.MaxPool2d(3, 2), nn.LocalResponseNorm(5)),
        *(nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(True), nn.Conv2d(384, 384, 3, padding=1), nn.ReLU(True)),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(True), nn.MaxPool2d(3, 2), nn.Flatten()),
        *(nn.Linear(9216, 4096), nn.ReLU(True), nn.Linear(4096, 4096), nn.ReLU(True), nn.Linear(4096, 1000)),
    )
    rows = rows_on_meta(network, 227)
    sides = [("convolution", 96, 55), ("max pool", 96, 27), ("local response norm", 96, 27), ("convolution", 256, 27)]
    sides += [("max pool", 256, 13), ("local response norm", 256, 13), ("convolution", 384, 13)]
    sides += [("convolution", 384, 13), ("convolution", 256, 13), ("max pool", 256, 6)]
    assert [(row.kind, row.output) for row in rows[:10]] == [(kind, (c, side, side)) for kind, c, side in sides]
    assert [row.output for row in rows[10:]] == [(4096,), (4096,), (1000,)]
    assert rows[0].parameters == 34_944


class Inception(nn.Module):
    """The module of GoogLeNet on 256 channels, naive or with bottlenecks of 64 (Szegedy 2014, figure 2)."""

    def __init__(self, bottleneck: int | None) -> None:
        super().__init__()

        def branch(filters: int, side: int) -> nn.Module:
            if bottleneck is None:
                return nn.Conv2d(256, filters, side, padding=side // 2)
            return nn.Sequential(nn.Conv2d(256, bottleneck, 1), nn.Conv2d(bottleneck, filters, side, padding=side // 2))

        pooled = nn.MaxPool2d(3, 1, padding=1)
        narrow = nn.Identity() if bottleneck is None else nn.Conv2d(256, bottleneck, 1)
        self.branches = nn.ModuleList(
            [nn.Conv2d(256, 128, 1), branch(192, 3), branch(96, 5), nn.Sequential(pooled, narrow)]
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


def test_the_operations_of_inception() -> None:
    naive, narrow = (rows_on_meta(Inception(width), 28, 256) for width in (None, 64))
    assert naive[-1].kind == "concat"
    assert naive[-1].output == (672, 28, 28)
    assert round(add_up(naive).multiply_adds / 1e6) == 854
    assert round(add_up(narrow).multiply_adds / 1e6) == 271
    # The course's total of 358 million counts the 3 x 3 convolution twice.
    three = next(row for row in narrow if row.kernel == (3, 3) and row.filters == 192)
    assert round((add_up(narrow).multiply_adds + three.multiply_adds) / 1e6) == 358


def test_a_stack_of_small_filters() -> None:
    """Three 3 x 3 see what one 7 x 7 does, with 27 instead of 49 weights for each pair of channels."""
    stack = rows_on_meta(nn.Sequential(*(nn.Conv2d(8, 8, 3, padding=1) for _ in range(3))), 32, 8)
    single = rows_on_meta(nn.Conv2d(8, 8, 7, padding=3), 32, 8)
    assert [row.field.size[0] for row in stack if row.field] == [3, 5, 7]
    assert single[0].field is not None
    assert single[0].field.size == (7, 7)
    assert (add_up(stack).weights, single[0].weights) == (27 * 64, 49 * 64)


@pytest.mark.parametrize("name", ["resnet18", "googlenet", "mobilenet_v2", "efficientnet_b0"])
def test_operations_and_parameters_are_torchvisions(name: str) -> None:
    meta = torchvision.models.get_model_weights(name).DEFAULT.meta
    total = add_up(rows_of(name))
    assert total.parameters == meta["num_params"]
    assert total.multiply_adds / 1e9 == pytest.approx(meta["_ops"], abs=6e-3)


def test_rows_are_in_their_stage_and_none_is_lost() -> None:
    backbone = backbone_without_memory({"name": "vit_tiny_patch16_224", "weights": None})
    rows = by_stage(inspect_layers(backbone))
    assert list(rows) == list(backbone.stage_names)
    for stage, module in backbone.stages.items():
        own = [p for name, p in module.named_parameters() if "head_drop" not in name]
        assert add_up(rows[stage]).parameters == sum(p.numel() for p in own), stage
    assert {row.name for row in rows["stage1"]} >= {"cls_token", "pos_embed", "patch_embed.proj"}
    attention = next(row for row in rows["stage2"] if row.kind == "attention")
    assert attention.multiply_adds == 2 * 197**2 * 192  # scores, and the weighted sum
    assert attention.field is not None
    assert attention.field.text == "global"


def test_values_and_meta_give_the_same_rows() -> None:
    real = create_backbone("resnet18", weights=None, input_size=64)
    counted = rows_of("resnet18", input_size=64)
    assert inspect_layers(real) == counted
    joined = [row for row in counted if row.kind == "add"]
    assert [row.name for row in joined] == [f"layer{i}.{k}.add" for i in (1, 2, 3, 4) for k in (0, 1)]
    assert {row.activation for row in joined} == {"ReLU"}
