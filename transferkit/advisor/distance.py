"""Distance of the activations of new images from the source statistics stored by batch norm."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from transferkit.arrays import Doubles
from transferkit.backbones.backbone import Backbone
from transferkit.data.imageset import ImageSet

MAX_IMAGES = 256
_LEAST_VARIANCE = 1e-5  # the epsilon of batch norm, so that two constant channels count as equal


@dataclass(frozen=True)
class Distance:
    """Symmetric KL divergence between source and target activations; 0 for the same statistics.

    Attributes:
        layers: Batch-norm layers measured, in order: (stage, divergence).
        images: Number of images measured.
    """

    layers: Sequence[tuple[str, float]]
    images: int

    @property
    def all(self) -> float:
        """Mean over all layers."""
        return float(np.mean([value for _, value in self.layers]))

    @property
    def early(self) -> float:
        """Mean over the first third of the layers: how much the *input* differs."""
        return self._third(0)

    @property
    def late(self) -> float:
        """Mean over the last third of the layers: how much the *content* differs."""
        return self._third(2)

    @property
    def stages(self) -> dict[str, float]:
        """Mean over the layers of each stage."""
        names = dict.fromkeys(stage for stage, _ in self.layers)
        return {name: float(np.mean([value for stage, value in self.layers if stage == name])) for name in names}

    def _third(self, number: int) -> float:
        values = [value for _, value in self.layers]
        third = max(len(values) // 3, 1)
        return float(np.mean(values[:third] if number == 0 else values[-third:]))


def activation_distance(backbone: Backbone, images: ImageSet, batch_size: int = 32, seed: int = 0) -> Distance | None:
    """Measure the distance in one forward pass over at most 256 images.

    Per channel of the input of each batch-norm layer, source and target are taken as normal distributions; their
    symmetric KL divergence is reduced by its median over the channels. The expected value of sampling noise is
    subtracted: a quarter of the divergence between the two halves of the images.

    Returns:
        None if there are no source statistics: no batch norm, or random weights.
    """
    layers = [
        (stage, name)
        for stage in backbone.feature_stages
        for name, module in backbone.stages[stage].named_modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    ]
    if not layers or backbone.weights_name == "random" or len(images) < 2:
        return None
    chosen = np.sort(np.random.default_rng(seed).permutation(len(images))[:MAX_IMAGES])
    network = copy.deepcopy(backbone.truncate(backbone.top)).eval()
    modules: list[_BatchNorm] = [network.stages[stage].get_submodule(name) for stage, name in layers]  # type: ignore[misc]
    sums = [_Sums() for _ in modules]
    with _watched(modules, sums), torch.inference_mode():
        for start in range(0, len(chosen), batch_size):
            batch = [backbone.preprocess(images.image(int(i))) for i in chosen[start : start + batch_size]]
            network(torch.stack(batch))
    values = [
        (stage, _layer_distance(module, layer_sums))
        for (stage, _), module, layer_sums in zip(layers, modules, sums, strict=True)
        if layer_sums.count.min() > 0  # skip layers that did not run
    ]
    return Distance(values, len(chosen)) if values else None


def symmetric_kl(mean: Doubles, variance: Doubles, other_mean: Doubles, other_variance: Doubles) -> Doubles:
    """KL(p||q) + KL(q||p) of normal distributions p and q, elementwise."""
    square = (mean - other_mean) ** 2
    both = (variance + square) / other_variance + (other_variance + square) / variance
    return 0.5 * both - 1.0


@dataclass
class _Sums:
    """Sums over two interleaved halves of the images: count (2,), and per channel of values and squares (2, C)."""

    count: Doubles = field(default_factory=lambda: np.zeros(2))
    first: Any = 0.0
    second: Any = 0.0

    def add(self, x: Tensor) -> None:
        rows = x.detach().double().flatten(2) if x.ndim > 2 else x.detach().double()[..., None]
        halves = [rows[half::2] for half in (0, 1)]
        self.count = self.count + [half.shape[0] * half.shape[2] for half in halves]
        self.first = self.first + np.stack([half.sum(dim=(0, 2)).cpu().numpy() for half in halves])
        self.second = self.second + np.stack([half.square().sum(dim=(0, 2)).cpu().numpy() for half in halves])

    def moments(self, halves: slice) -> tuple[Doubles, Doubles]:
        """Mean and variance per channel over the chosen halves."""
        n = self.count[halves].sum()
        mean = self.first[halves].sum(axis=0) / n
        return mean, np.maximum(self.second[halves].sum(axis=0) / n - mean**2, _LEAST_VARIANCE)


@contextmanager
def _watched(modules: Sequence[nn.Module], sums: Sequence[_Sums]) -> Iterator[None]:
    with ExitStack() as stack:
        for module, layer_sums in zip(modules, sums, strict=True):

            def hook(_: nn.Module, inputs: tuple[Tensor, ...], layer_sums: _Sums = layer_sums) -> None:
                layer_sums.add(inputs[0])

            stack.callback(module.register_forward_pre_hook(hook).remove)
        yield


def _layer_distance(module: _BatchNorm, sums: _Sums) -> float:
    assert module.running_mean is not None
    assert module.running_var is not None
    source = module.running_mean.double().cpu().numpy(), module.running_var.double().cpu().numpy()
    mean, variance = sums.moments(slice(0, 2))
    found = symmetric_kl(mean, variance, source[0], np.maximum(source[1], _LEAST_VARIANCE))
    chance = symmetric_kl(*sums.moments(slice(0, 1)), *sums.moments(slice(1, 2))) / 4
    return max(float(np.median(found - chance)), 0.0)
