"""Activations of every layer on real images, and the gradients of one batch: a forward pass for both."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transferkit.arrays import Doubles
from transferkit.backbones.backbone import Backbone
from transferkit.backbones.stage_sequence import feature
from transferkit.data.imageset import ImageSet
from transferkit.inspection.layers import Layer
from transferkit.inspection.watch import watch
from transferkit.progress import progress

BATCH = 16
BINS = 40
_SAMPLED = 1_000_000
"""Values of a batch that are drawn into the histogram at most."""


@dataclass(frozen=True)
class ActivationStatistics:
    """The output of a layer, after its activation function, on all images.

    Attributes:
        mean: Over all values.
        std: Over all values.
        edges: Of the histogram's bins (41,): the range in the first batch.
        counts: Values in each bin (40,); of large layers a regular sample. What lies outside counts at the ends.
        units: Channels, or outputs of a linear layer.
        dead: Those that have the same value on every image and at every position, as a ReLU that never fires.
    """

    mean: float
    std: float
    edges: Doubles
    counts: Doubles
    units: int
    dead: int


@dataclass(frozen=True)
class Measured:
    """Results of the images.

    Attributes:
        images: Number of them.
        activations: By row of `layers`.
        gradients: By row: the norm of the loss's gradient in the layer's parameters, over one batch.
        weights: By row: the norm of these parameters.
        batch: Images of that batch.
    """

    images: int
    activations: Mapping[int, ActivationStatistics]
    gradients: Mapping[int, float]
    weights: Mapping[int, float]
    batch: int


def measure(
    backbone: Backbone, images: ImageSet, most: int, num_classes: int, seed: int
) -> tuple[list[Layer], Measured]:
    """Measure a network in eval mode, on a random choice of images.

    The gradients are those of the cross entropy of a new, random linear head on the top stage.

    Args:
        backbone: With its weights; its gradients are enabled.
        images: To choose from.
        most: Number of images.
        num_classes: Of the labels.
        seed: Of the choice and the head.

    Returns:
        The rows of the network, and what was measured, by index of a row.

    Raises:
        TransferkitError: An image cannot be read.
    """
    chosen = images.subset(np.sort(np.random.default_rng(seed).permutation(len(images))[:most]))
    device = next(backbone.parameters()).device
    torch.manual_seed(seed)
    head = nn.Linear(backbone.width(backbone.top), num_classes).to(device)
    backbone.requires_grad_(True).eval()
    sums: dict[int, _Sums] = {}
    layers: list[Layer] = []
    gradients: tuple[dict[int, float], dict[int, float]] = ({}, {})
    with progress("Measuring activations", len(chosen)) as advance:
        for start in range(0, len(chosen), BATCH):
            some = range(start, min(start + BATCH, len(chosen)))
            inputs = torch.stack([backbone.preprocess(chosen.image(i)) for i in some]).to(device)
            inputs = inputs.contiguous(memory_format=torch.channels_last)
            first = start == 0
            parts = dict(backbone.stages.items())
            layers, states = watch(parts, inputs, _adding(sums), backbone.top if first else None)
            if first:
                pooled = backbone.pooled(backbone.top, feature(states[backbone.top]))
                labels = torch.as_tensor(chosen.labels[: len(inputs)], device=device)
                torch.autograd.backward(F.cross_entropy(head(pooled), labels))
                gradients = parameter_norms(layers, parts)
                backbone.zero_grad(set_to_none=True)
            advance(len(some))
    found = {row: one.statistics() for row, one in sums.items()}
    return layers, Measured(len(chosen), found, *gradients, min(BATCH, len(chosen)))


def parameter_norms(layers: list[Layer], parts: Mapping[str, nn.Module]) -> tuple[dict[int, float], dict[int, float]]:
    """Norm of the gradient and norm of the parameters, by row of each layer that has a gradient."""
    gradients: dict[int, float] = {}
    weights: dict[int, float] = {}
    for row, layer in enumerate(layers):
        module = _module(parts[layer.stage], layer.name) if layer.parameters and layer.kind != "parameter" else None
        found = [p for p in module.parameters() if p.grad is not None] if module is not None else []
        if found:
            gradients[row] = float(torch.stack([p.grad.norm() for p in found if p.grad is not None]).norm())
            weights[row] = float(torch.stack([p.detach().norm() for p in found]).norm())
    return gradients, weights


def _module(part: nn.Module, name: str) -> nn.Module | None:
    """The module of a row; the paths in a top stage with a pooling of its own begin with the name of the part."""
    for path in (name, f"body.{name}", f"native_pool.{name}"):
        try:
            return part.get_submodule(path)
        except AttributeError:
            continue
    return None


def _adding(sums: dict[int, "_Sums"]) -> Callable[[int, Tensor], None]:
    def add(row: int, output: Tensor) -> None:
        sums.setdefault(row, _Sums()).add(output.detach())

    return add


class _Sums:
    """Sums over the images that one layer has seen."""

    def __init__(self) -> None:
        self.count = 0
        self.first = self.second = 0.0
        self.low: Any = None
        self.high: Any = None
        self.edges: Doubles = np.zeros(0)
        self.counts: Doubles = np.zeros(BINS)

    @torch.no_grad()
    def add(self, output: Tensor) -> None:
        """Count the output of a batch: maps (N, C, H, W), tokens (N, L, C) or vectors (N, C)."""
        output = output.float()
        axis = 1 if output.ndim == 4 else output.ndim - 1
        others = [i for i in range(output.ndim) if i != axis]
        low, high = output.amin(dim=others), output.amax(dim=others)
        self.low = low if self.low is None else torch.minimum(self.low, low)
        self.high = high if self.high is None else torch.maximum(self.high, high)
        count, mean = output.numel(), output.mean().item()
        self.count += count
        self.first += mean * count
        self.second += (output.var(correction=0).item() + mean**2) * count
        if not len(self.edges):
            least, most = low.min().item(), high.max().item()
            self.edges = np.linspace(least, most if most > least else least + 1, BINS + 1)
        values = output.flatten()[:: max(output.numel() // _SAMPLED, 1)]
        values = values.clamp(self.edges[0], self.edges[-1]).cpu()
        self.counts = self.counts + torch.histc(values, BINS, self.edges[0], self.edges[-1]).numpy()

    def statistics(self) -> ActivationStatistics:
        """Of all images."""
        mean = self.first / self.count
        std = max(self.second / self.count - mean**2, 0.0) ** 0.5
        dead = int((self.low == self.high).sum())
        return ActivationStatistics(mean, std, self.edges, self.counts, len(self.low), dead)
