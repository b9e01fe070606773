"""Networks of the literature that torchvision and timm lack, as their papers describe them, in torchvision's style.

Layers have the papers' names, so that `features.conv2` of AlexNet is what the paper calls the second convolution.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from transferkit.backbones.narrow import resnet_of_widths

Layers = list[tuple[str, nn.Module]]

WIDTHS = (64, 128, 256, 512)
"""Channels of the four stages of a ResNet in the paper."""


class ResponseNorm(nn.Module):
    """Local response normalisation (Krizhevsky et al. 2012, section 3.3): a / (k + alpha * sum(a^2))^beta.

    The sum runs over `size` neighbouring channels. `torch.nn.LocalResponseNorm` takes their mean instead, so its alpha
    is `size` times the paper's.

    Args:
        size: n of the paper.
        alpha: As in the paper.
        beta: As in the paper.
        k: As in the paper.
        towers: Groups of channels that do not see each other.
    """

    def __init__(
        self, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0, *, towers: int = 1
    ) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k, self.towers = size, alpha, beta, k, towers

    def forward(self, x: Tensor) -> Tensor:
        """Normalise maps (N, C, H, W)."""
        batch, channels, *grid = x.shape
        split = x.reshape(batch * self.towers, channels // self.towers, *grid)
        return F.local_response_norm(split, self.size, self.size * self.alpha, self.beta, self.k).reshape(x.shape)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}, towers={self.towers}"


class _Sequence(nn.Module):
    """Convolutions, a pooling to a fixed grid (so that images of any size fit), and fully connected layers."""

    def __init__(self, features: Layers, grid: int, classifier: Layers) -> None:
        super().__init__()
        self.features = nn.Sequential(OrderedDict(features))
        self.avgpool = nn.AdaptiveAvgPool2d(grid)
        self.classifier = nn.Sequential(OrderedDict(classifier))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, 3, H, W)."""
        logits: Tensor = self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))
        return logits


class AlexNet(_Sequence):
    """AlexNet as in the paper (Krizhevsky et al. 2012), for images of 227 x 227 pixels.

    With two towers (the paper's two GPUs) conv2, conv4 and conv5 see the channels of their own tower only; conv3 and
    the fully connected layers see all. Normalisation stands before pooling, as in the paper; Caffe's reference network
    has it after.

    Args:
        num_classes: Outputs of fc8.
        towers: 1 or 2.
        dropout: After fc6 and fc7.
        hidden: Features of fc6 and fc7.
    """

    def __init__(self, num_classes: int = 1000, towers: int = 1, dropout: float = 0.5, hidden: int = 4096) -> None:
        features = [
            *_conv(1, 3, 96, 11, stride=4),
            ("norm1", ResponseNorm(towers=towers)),
            ("pool1", nn.MaxPool2d(3, 2)),
            *_conv(2, 96, 256, 5, padding=2, groups=towers),
            ("norm2", ResponseNorm(towers=towers)),
            ("pool2", nn.MaxPool2d(3, 2)),
            *_conv(3, 256, 384, 3, padding=1),
            *_conv(4, 384, 384, 3, padding=1, groups=towers),
            *_conv(5, 384, 256, 3, padding=1, groups=towers),
            ("pool3", nn.MaxPool2d(3, 2)),
        ]
        super().__init__(features, 6, _fully_connected(256 * 6 * 6, hidden, num_classes, dropout))
        _gaussian(self)
        for name in ("features.conv2", "features.conv4", "features.conv5", "classifier.fc6", "classifier.fc7"):
            nn.init.ones_(self.get_submodule(name).bias)  # type: ignore[arg-type]


class ZFNet(_Sequence):
    """ZFNet (Zeiler & Fergus 2013), for images of 224 x 224 pixels; pooling stands before normalisation.

    Args:
        num_classes: Outputs of fc8.
        channels: Of conv3, conv4 and conv5. The default is the paper's best single network (table 2); its figure 3 has
            384, 384, 256.
        dropout: After fc6 and fc7.
        hidden: Features of fc6 and fc7.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        channels: Sequence[int] = (512, 1024, 512),
        dropout: float = 0.5,
        hidden: int = 4096,
    ) -> None:
        third, fourth, fifth = channels
        features = [
            *_conv(1, 3, 96, 7, stride=2, padding=1),
            ("pool1", nn.MaxPool2d(3, 2, padding=1)),
            ("norm1", ResponseNorm()),
            *_conv(2, 96, 256, 5, stride=2),
            ("pool2", nn.MaxPool2d(3, 2, padding=1)),
            ("norm2", ResponseNorm()),
            *_conv(3, 256, third, 3, padding=1),
            *_conv(4, third, fourth, 3, padding=1),
            *_conv(5, fourth, fifth, 3, padding=1),
            ("pool3", nn.MaxPool2d(3, 2)),
        ]
        super().__init__(features, 6, _fully_connected(fifth * 6 * 6, hidden, num_classes, dropout))
        _gaussian(self)


class VGG(_Sequence):
    """A VGG (Simonyan & Zisserman 2015), for images of 224 x 224 pixels; initialised as torchvision's are.

    Args:
        blocks: The layers of each block in the words of table 1: "conv3-64", "conv1-256", "LRN"; a max-pool follows.
        num_classes: Outputs of fc8.
        dropout: After fc6 and fc7.
        hidden: Features of fc6 and fc7.
    """

    def __init__(
        self, blocks: Sequence[Sequence[str]], num_classes: int = 1000, dropout: float = 0.5, hidden: int = 4096
    ) -> None:
        features: Layers = []
        channels = 3
        for number, block in enumerate(blocks, start=1):
            for place, layer in enumerate(block, start=1):
                if layer == "LRN":
                    features.append((f"norm{number}", ResponseNorm()))
                    continue
                size, filters = map(int, layer.removeprefix("conv").split("-"))
                features += _conv(f"{number}_{place}", channels, filters, size, padding=size // 2)
                channels = filters
            features.append((f"pool{number}", nn.MaxPool2d(2, 2)))
        super().__init__(features, 7, _fully_connected(channels * 7 * 7, hidden, num_classes, dropout))
        _gaussian(self)
        for module in self.features:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class LeNet5(_Sequence):
    """LeNet-5 (LeCun et al. 1998, section II.B), for images of 32 x 32 pixels.

    C1 takes colour images; with `in_channels=1` the layers up to F6 have the paper's 60,000 parameters. The output is a
    linear layer, where the paper has fixed radial basis functions.

    Args:
        num_classes: Outputs.
        in_channels: Of the images; backbones always take three.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 3) -> None:
        features: Layers = [
            *(("c1", nn.Conv2d(in_channels, 6, 5)), ("tanh1", ScaledTanh())),
            *(("s2", Subsampling(6)), ("tanh2", ScaledTanh())),
            *(("c3", PartialConvolution()), ("tanh3", ScaledTanh())),
            *(("s4", Subsampling(16)), ("tanh4", ScaledTanh())),
        ]
        classifier: Layers = [
            *(("c5", nn.Linear(16 * 5 * 5, 120)), ("tanh5", ScaledTanh())),
            *(("f6", nn.Linear(120, 84)), ("tanh6", ScaledTanh())),
            ("output", nn.Linear(84, num_classes)),
        ]
        super().__init__(features, 5, classifier)
        for module in self.modules():  # appendix A: uniform in +-2.4 / fan-in
            if isinstance(module, nn.Conv2d | nn.Linear):
                bound = 2.4 / module.weight[0].numel()
                nn.init.uniform_(module.weight, -bound, bound)


class ScaledTanh(nn.Module):
    """LeNet-5's activation, 1.7159 tanh(2/3 x) (LeCun et al. 1998, appendix A)."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply it to each value."""
        return 1.7159 * torch.tanh(x * (2 / 3))


class Subsampling(nn.Module):
    """LeNet-5's pooling: the sum of 2 x 2 pixels times a trained coefficient, plus a trained bias, per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.coefficient = nn.Parameter(torch.empty(channels))
        self.bias = nn.Parameter(torch.empty(channels))
        nn.init.constant_(self.coefficient, 0.25)  # starts as the mean
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Halve maps (N, C, H, W)."""
        sums = F.avg_pool2d(x, 2, divisor_override=1)
        return sums * self.coefficient.view(-1, 1, 1) + self.bias.view(-1, 1, 1)


class PartialConvolution(nn.Module):
    """C3 of LeNet-5: 16 filters, each on some of the 6 maps (LeCun et al. 1998, table I)."""

    FILTERS = (
        *("012", "123", "234", "345", "450", "501"),
        *("0123", "1234", "2345", "3450", "4501", "5012"),
        *("0134", "1245", "0235", "012345"),
    )
    """The maps that each filter sees."""

    def __init__(self) -> None:
        super().__init__()
        alike = [[maps for maps in self.FILTERS if len(maps) == width] for width in (3, 4, 6)]
        self.inputs = [[int(number) for maps in filters for number in maps] for filters in alike]
        self.parts = nn.ModuleList(
            nn.Conv2d(len(inputs), len(filters), 5, groups=len(filters))
            for inputs, filters in zip(self.inputs, alike, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, 16, H - 4, W - 4) of maps (N, 6, H, W)."""
        return torch.cat([part(x[:, inputs]) for part, inputs in zip(self.parts, self.inputs, strict=True)], dim=1)


class PlainBlock(BasicBlock):  # type: ignore[misc]
    """Two convolutions with batch norm, without the shortcut of a residual block (He et al. 2016, section 3.3)."""

    def __init__(self, inplanes: int, planes: int, stride: int = 1, downsample: Any = None, *more: Any, **named: Any):
        super().__init__(inplanes, planes, stride, None, *more, **named)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, planes, H / stride, W / stride) of maps (N, inplanes, H, W)."""
        x = self.relu(self.bn1(self.conv1(x)))
        activated: Tensor = self.relu(self.bn2(self.conv2(x)))
        return activated


def _conv(number: int | str, inputs: int, filters: int, size: int, **geometry: int) -> Layers:
    geometry = {"stride": 1, "padding": 0, "groups": 1} | geometry
    return [
        (f"conv{number}", nn.Conv2d(inputs, filters, size, **geometry)),  # type: ignore[arg-type]
        (f"relu{number}", nn.ReLU(inplace=True)),
    ]


def _fully_connected(features: int, hidden: int, num_classes: int, dropout: float) -> Layers:
    return [
        *(("fc6", nn.Linear(features, hidden)), ("relu6", nn.ReLU(inplace=True)), ("drop6", nn.Dropout(dropout))),
        *(("fc7", nn.Linear(hidden, hidden)), ("relu7", nn.ReLU(inplace=True)), ("drop7", nn.Dropout(dropout))),
        ("fc8", nn.Linear(hidden, num_classes)),
    ]


def _gaussian(network: nn.Module) -> None:
    """Weights with a standard deviation of 0.01 and biases of zero, as AlexNet and ZFNet start."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]


def vgg11_lrn(num_classes: int = 1000, dropout: float = 0.5, hidden: int = 4096) -> nn.Module:
    """VGG A-LRN: VGG11 with a local response normalisation after conv1."""
    blocks = [["conv3-64", "LRN"], ["conv3-128"], ["conv3-256"] * 2, ["conv3-512"] * 2, ["conv3-512"] * 2]
    return VGG(blocks, num_classes, dropout, hidden)


def vgg16_c(num_classes: int = 1000, dropout: float = 0.5, hidden: int = 4096) -> nn.Module:
    """VGG C: the third convolution of blocks 3 to 5 is 1 x 1."""
    blocks = [["conv3-64"] * 2, ["conv3-128"] * 2, *([f"conv3-{n}"] * 2 + [f"conv1-{n}"] for n in (256, 512, 512))]
    return VGG(blocks, num_classes, dropout, hidden)


def plain18(num_classes: int = 1000, channels: Sequence[int] = WIDTHS) -> nn.Module:
    """ResNet-18 without shortcuts (He et al. 2016, section 4.1); `channels` of its four stages."""
    return resnet_of_widths(PlainBlock, [2, 2, 2, 2], channels, num_classes)


def plain34(num_classes: int = 1000, channels: Sequence[int] = WIDTHS) -> nn.Module:
    """ResNet-34 without shortcuts (He et al. 2016, section 4.1): worse than `plain18`, in training too."""
    return resnet_of_widths(PlainBlock, [3, 4, 6, 3], channels, num_classes)


def alexnet_lrn(num_classes: int = 1000, dropout: float = 0.5, hidden: int = 4096) -> nn.Module:
    """`AlexNet` in one tower."""
    return AlexNet(num_classes, 1, dropout, hidden)


def alexnet_two_tower(num_classes: int = 1000, dropout: float = 0.5, hidden: int = 4096) -> nn.Module:
    """`AlexNet` in two towers, as it was trained."""
    return AlexNet(num_classes, 2, dropout, hidden)


CLASSIC: dict[str, Callable[..., nn.Module]] = {
    "lenet5": LeNet5,
    "alexnet_lrn": alexnet_lrn,
    "alexnet_two_tower": alexnet_two_tower,
    "zfnet": ZFNet,
    "vgg11_lrn": vgg11_lrn,
    "vgg16_c": vgg16_c,
    "plain18": plain18,
    "plain34": plain34,
}
"""Name to what builds the network."""
