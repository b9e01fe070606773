"""Small members of the ResNet and VGG families, for images of some 32 pixels: the networks of the embedded weights.

The classes are torchvision's own, so that whatever works on a ResNet-50 or a VGG16 works on these.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet
from torchvision.models.vgg import VGG, make_layers


def narrow_resnet10(num_classes: int = 1000, channels: Sequence[int] = (24, 48, 96, 192)) -> nn.Module:
    """ResNet with one basic block per stage (10 weight layers; He et al. 2016, section 4.1).

    Args:
        num_classes: Outputs of the classifier.
        channels: Of the four stages; the paper's networks have 64, 128, 256, 512.
    """
    # Residual branches do not start at zero (zero_init_residual): that would leave a random network with little but 1x1
    # convolutions with stride, which use every 32nd pixel: too weak a baseline for pretraining, and slower to train.
    return resnet_of_widths(BasicBlock, [1, 1, 1, 1], channels, num_classes)


def resnet_of_widths(
    block: type[BasicBlock], layers: Sequence[int], channels: Sequence[int], num_classes: int
) -> nn.Module:
    """Torchvision's ResNet with other widths than 64, 128, 256, 512; its first convolution has 64 channels.

    Args:
        block: Of two convolutions.
        layers: Blocks of the four stages.
        channels: Of the four stages.
        num_classes: Outputs of the classifier.
    """
    with torch.device("meta"):  # torchvision's own stages, whose widths are fixed, are replaced
        network: Any = ResNet(block, [1, 1, 1, 1], num_classes)
    network.inplanes = 64
    network.conv1 = nn.Conv2d(3, 64, kernel_size=7, stride=2, padding=3, bias=False)
    network.bn1 = nn.BatchNorm2d(64)
    for number, (width, blocks) in enumerate(zip(channels, layers, strict=True), start=1):
        setattr(network, f"layer{number}", network._make_layer(block, width, blocks, stride=1 if number == 1 else 2))
    network.fc = nn.Linear(channels[-1], num_classes)
    _init_convolutions(network)
    built: nn.Module = network
    return built


def narrow_vgg8(
    num_classes: int = 1000,
    channels: Sequence[int] = (32, 64, 128, 192, 192),
    hidden: int = 256,
    dropout: float = 0.2,
    batch_norm: bool = True,
) -> nn.Module:
    """VGG with batch norm and one convolution per block (8 weight layers); the last map is averaged before fc6.

    Args:
        num_classes: Outputs of the classifier.
        channels: Of the five blocks; the paper's networks (Simonyan & Zisserman 2015) have 64, 128, 256, 512, 512.
        hidden: Features of fc6 and fc7; the paper's networks have 4,096.
        dropout: After fc6 and fc7.
        batch_norm: Whether it follows each convolution.
    """
    with torch.device("meta"):  # torchvision's own classifier, 120 million parameters, is replaced
        network: nn.Module = VGG(nn.Identity(), num_classes, init_weights=False)
    network.features = make_layers([layer for width in channels for layer in (width, "M")], batch_norm=batch_norm)
    network.avgpool = nn.AdaptiveAvgPool2d(1)
    network.classifier = nn.Sequential(
        *(nn.Linear(channels[-1], hidden), nn.ReLU(True), nn.Dropout(dropout)),
        *(nn.Linear(hidden, hidden), nn.ReLU(True), nn.Dropout(dropout)),
        nn.Linear(hidden, num_classes),
    )
    _init_convolutions(network)
    return network


def _init_convolutions(network: nn.Module) -> None:
    """As torchvision does (He et al. 2015)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


NARROW: dict[str, Callable[..., nn.Module]] = {"narrow_resnet10": narrow_resnet10, "narrow_vgg8": narrow_vgg8}
"""Name to the function that builds the network."""
