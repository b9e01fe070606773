"""The papers' networks: their layers, counts and shapes, and the same computed another way."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from transferkit.backbones.classic import (
    CLASSIC,
    AlexNet,
    LeNet5,
    PartialConvolution,
    PlainBlock,
    ResponseNorm,
    Subsampling,
    ZFNet,
    plain18,
    plain34,
    vgg11_lrn,
    vgg16_c,
)
from transferkit.backbones.create import create_backbone
from transferkit.errors import TransferkitError

GENERATOR = torch.Generator().manual_seed(0)


def meta(build: Callable[..., nn.Module], **kwargs: Any) -> nn.Module:
    with torch.device("meta"):
        return build(**kwargs)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def layer_counts(network: nn.Module) -> dict[str, int]:
    """The parameters of each named layer."""
    return {name: n for part in network.children() for name, layer in part.named_children() if (n := count(layer))}


def layer_shapes(network: nn.Module, size: int, channels: int = 3) -> dict[str, tuple[int, ...]]:
    """The shape of what each layer gives for one image, computed without memory."""
    shapes: dict[str, tuple[int, ...]] = {}
    for part in network.children():
        for name, layer in part.named_children():
            layer.register_forward_hook(lambda *seen, name=name: shapes.update({name: tuple(seen[2].shape[1:])}))
    network(torch.empty(1, channels, size, size, device="meta"))
    return shapes


def assert_shapes(network: nn.Module, size: int, expected: Mapping[str, tuple[int, ...]], channels: int = 3) -> None:
    found = layer_shapes(network, size, channels)
    assert {name: found[name] for name in expected} == dict(expected)


@pytest.mark.parametrize(
    ("build", "layers", "millions"),
    [
        (torchvision.models.vgg11, 11, 133),
        (vgg11_lrn, 11, 133),
        (torchvision.models.vgg13, 13, 133),
        (vgg16_c, 16, 134),
        (torchvision.models.vgg16, 16, 138),
        (torchvision.models.vgg19, 19, 144),
    ],
)
def test_the_six_configurations_of_vgg(build: Callable[..., nn.Module], layers: int, millions: int) -> None:
    """Simonyan & Zisserman 2015, tables 1 and 2."""
    network = meta(build)
    assert sum(isinstance(module, nn.Conv2d | nn.Linear) for module in network.modules()) == layers
    assert round(count(network) / 1e6) == millions
    shapes = list(layer_shapes(network, 224).values())
    assert [(n, 224 // 2**level, 224 // 2**level) in shapes for level, n in enumerate([64, 128, 256, 512, 512], 1)]
    assert next(m.in_features for m in network.modules() if isinstance(m, nn.Linear)) == 25088


@torch.inference_mode()
def test_without_normalisation_a_lrn_is_torchvisions_vgg11() -> None:
    ours: Any = vgg11_lrn(hidden=8)
    theirs = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["A"])
    del ours.features.norm1
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.features.state_dict().values(), strict=True)))
    x = torch.randn(1, 3, 64, 64, generator=GENERATOR)
    assert torch.equal(ours.features(x), theirs(x))


def test_vgg_a_and_c_within_their_neighbours() -> None:
    """A-LRN is A with one layer more, C is B with three 1 x 1 convolutions (table 1)."""
    assert count(meta(vgg11_lrn)) == count(meta(torchvision.models.vgg11))
    kinds = [type(module).__name__ for module in meta(vgg11_lrn).get_submodule("features").children()]
    assert kinds[:4] == ["Conv2d", "ReLU", "ResponseNorm", "MaxPool2d"]
    assert kinds.count("ResponseNorm") == 1
    added = sum(n * n + n for n in (256, 512, 512))
    assert count(meta(vgg16_c)) == count(meta(torchvision.models.vgg13)) + added
    kernels = [m.kernel_size[0] for m in meta(vgg16_c).modules() if isinstance(m, nn.Conv2d)]
    assert kernels == [3, 3, 3, 3, 3, 3, 1, 3, 3, 1, 3, 3, 1]


def test_alexnet_layer_by_layer() -> None:
    """Krizhevsky et al. 2012, figure 2; the counts by hand."""
    network = meta(AlexNet)
    assert_shapes(
        network,
        227,
        {
            **{"conv1": (96, 55, 55), "norm1": (96, 55, 55), "pool1": (96, 27, 27)},
            **{"conv2": (256, 27, 27), "pool2": (256, 13, 13), "conv3": (384, 13, 13), "conv4": (384, 13, 13)},
            **{"conv5": (256, 13, 13), "pool3": (256, 6, 6), "fc6": (4096,), "fc7": (4096,), "fc8": (1000,)},
        },
    )
    assert layer_counts(network) == {
        "conv1": 96 * (11 * 11 * 3 + 1),  # 34,944
        "conv2": 256 * (5 * 5 * 96 + 1),
        "conv3": 384 * (3 * 3 * 256 + 1),
        "conv4": 384 * (3 * 3 * 384 + 1),
        "conv5": 256 * (3 * 3 * 384 + 1),
        **{"fc6": 4096 * (9216 + 1), "fc7": 4096 * (4096 + 1), "fc8": 1000 * (4096 + 1)},
    }
    assert count(network) == 62_378_344
    assert count(meta(AlexNet, towers=2)) == 60_965_224  # the paper's "60 million parameters"


@torch.inference_mode()
def test_two_towers_are_two_networks_but_for_conv3() -> None:
    torch.manual_seed(0)
    network = AlexNet(towers=2, num_classes=3, hidden=8).eval()
    layers = network.features
    images = torch.randn(2, 3, 227, 227, generator=GENERATOR)

    def tower(start: str, stop: str, half: int, x: Tensor) -> Tensor:
        """One half of the layers from `start` up to `stop`, each with its own half of the filters."""
        names = list(dict(layers.named_children()))
        for name in names[names.index(start) : names.index(stop) + 1]:
            layer: Any = layers.get_submodule(name)
            if isinstance(layer, nn.Conv2d):
                own = slice(*(half * layer.out_channels // 2, (half + 1) * layer.out_channels // 2))
                x = nn.functional.conv2d(x, layer.weight[own], layer.bias[own], layer.stride, layer.padding)  # type: ignore[index]
            elif isinstance(layer, ResponseNorm):
                x = nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0)(x)
            else:
                x = layer(x.clone())
        return x

    below = torch.cat([tower("conv1", "pool2", half, images) for half in (0, 1)], dim=1)
    torch.testing.assert_close(below, layers[:8](images))
    mixed = layers.relu3(layers.conv3(below))  # type: ignore[operator]
    halves = mixed.chunk(2, dim=1)
    above = torch.cat([tower("conv4", "pool3", half, halves[half]) for half in (0, 1)], dim=1)
    torch.testing.assert_close(above, layers(images))


def test_zfnet_layer_by_layer() -> None:
    """Zeiler & Fergus 2013, figure 3, with the filters of table 2."""
    network = meta(ZFNet)
    assert_shapes(
        network,
        224,
        {
            **{"conv1": (96, 110, 110), "pool1": (96, 55, 55), "conv2": (256, 26, 26), "pool2": (256, 13, 13)},
            **{"conv3": (512, 13, 13), "conv4": (1024, 13, 13), "conv5": (512, 13, 13), "pool3": (512, 6, 6)},
            **{"fc6": (4096,), "fc7": (4096,), "fc8": (1000,)},
        },
    )
    conv1: Any = network.get_submodule("features.conv1")
    assert (conv1.kernel_size, conv1.stride) == ((7, 7), (2, 2))
    assert_shapes(meta(ZFNet, channels=[384, 384, 256]), 224, {"conv4": (384, 13, 13), "pool3": (256, 6, 6)})


def test_lenet5_layer_by_layer() -> None:
    """LeCun et al. 1998, section II.B: "345,308 connections, but only 60,000 trainable free parameters"."""
    network = meta(LeNet5, in_channels=1)
    assert_shapes(
        network,
        32,
        {
            **{"c1": (6, 28, 28), "s2": (6, 14, 14), "c3": (16, 10, 10), "s4": (16, 5, 5)},
            **{"c5": (120,), "f6": (84,), "output": (10,)},
        },
        channels=1,
    )
    counts = layer_counts(network)
    assert counts == {"c1": 156, "s2": 12, "c3": 1516, "s4": 32, "c5": 48_120, "f6": 10_164, "output": 850}
    assert sum(counts.values()) - counts["output"] == 60_000
    assert count(meta(LeNet5)) - count(network) == 6 * 2 * 25  # colour: two more planes for C1


TABLE_1 = """
X...XXX..XXXX.XX
XX...XXX..XXXX.X
XXX...XXX..X.XXX
.XXX..XXXX..X.XX
..XXX..XXXX.XX.X
...XXX..XXXX.XXX
"""
"""LeCun et al. 1998, table I: a row for each map of S2, a column for each of C3."""


@torch.inference_mode()
def test_c3_of_lenet5_is_a_convolution_without_the_connections_that_the_table_lacks() -> None:
    torch.manual_seed(0)
    partial, whole = PartialConvolution(), nn.Conv2d(6, 16, 5)
    whole.weight.zero_()
    rows = TABLE_1.split()
    parts: list[Any] = list(partial.parts)
    filters = [weight for part in parts for weight in part.weight]
    for column, weight in enumerate(filters):
        seen = [row for row in range(6) if rows[row][column] == "X"]
        # A filter on three maps that wrap around (4, 5, 0) has its weights in that order.
        order = [int(number) for number in PartialConvolution.FILTERS[column]]
        assert sorted(order) == seen
        whole.weight[column, order] = weight
    whole.bias = nn.Parameter(torch.cat([part.bias for part in parts]))
    x = torch.randn(2, 6, 14, 14, generator=GENERATOR)
    torch.testing.assert_close(partial(x), whole(x))


def test_subsampling_is_a_scaled_mean() -> None:
    layer, x = Subsampling(6), torch.randn(2, 6, 8, 8, generator=GENERATOR)
    torch.testing.assert_close(layer(x), nn.functional.avg_pool2d(x, 2))
    with torch.no_grad():
        layer.coefficient[2], layer.bias[2] = 1.0, 0.5
    torch.testing.assert_close(layer(x)[:, 2], 4 * nn.functional.avg_pool2d(x, 2)[:, 2] + 0.5)


@pytest.mark.parametrize("towers", [1, 2])
def test_response_normalisation_is_the_papers(towers: int) -> None:
    """Krizhevsky et al. 2012, section 3.3, as a loop: n = 5, k = 2, alpha = 1e-4, beta = 0.75."""
    a = 50 * torch.randn(2, 8, 3, 3, generator=GENERATOR)
    expected = torch.empty_like(a)
    width = 8 // towers
    for i in range(8):
        first = i // width * width
        near = a[:, max(first, i - 2) : min(first + width - 1, i + 2) + 1]
        expected[:, i] = a[:, i] / (2 + 1e-4 * near.square().sum(dim=1)) ** 0.75
    torch.testing.assert_close(ResponseNorm(towers=towers)(a), expected)
    if towers == 1:  # torch takes the mean over the five channels
        torch.testing.assert_close(nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)(a), expected)


@pytest.mark.parametrize(("build", "residual", "layers"), [(plain18, "resnet18", 18), (plain34, "resnet34", 34)])
def test_plain_networks_are_residual_ones_without_shortcuts(
    build: Callable[[], nn.Module], residual: str, layers: int
) -> None:
    network, theirs = meta(build), meta(torchvision.models.get_model, name=residual)
    shapes = {name: value.shape for name, value in theirs.state_dict().items() if ".downsample." not in name}
    assert {name: value.shape for name, value in network.state_dict().items()} == shapes
    assert sum(isinstance(module, nn.Conv2d | nn.Linear) for module in network.modules()) == layers


@torch.inference_mode()
def test_a_plain_block_is_a_residual_block_whose_shortcut_gives_zero() -> None:
    torch.manual_seed(0)
    plain = PlainBlock(4, 8, 2).eval()
    shortcut = nn.Conv2d(4, 8, 1, stride=2, bias=False)
    shortcut.weight.zero_()
    residual = torchvision.models.resnet.BasicBlock(4, 8, 2, shortcut).eval()
    residual.load_state_dict(plain.state_dict(), strict=False)
    x = torch.randn(2, 4, 8, 8, generator=GENERATOR)
    assert torch.equal(plain(x), residual(x))
    assert plain(x).std() > 0


def test_they_have_no_published_weights() -> None:
    for name in CLASSIC:
        with pytest.raises(TransferkitError, match=rf"{name} has no published weights.*null for random"):
            create_backbone(name)
    with pytest.raises(TransferkitError, match=r"backbone\.kwargs: in_channels"):
        create_backbone("lenet5", None, kwargs={"in_channels": 1})
    with pytest.raises(TransferkitError, match=r"backbone\.kwargs: zfnet refuses"):
        create_backbone("zfnet", None, kwargs={"channels": [1]})
