"""Activations and gradients of a deep network before training, by how it is initialised.

The experiment of CS231n (lecture on training): ten layers of 500 units, inputs from a standard normal distribution.
Glorot & Bengio 2010 and He et al. 2015 derive the two scales at which the spread neither vanishes nor explodes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

LAYERS, UNITS, IMAGES = 10, 500, 1000

INITS: dict[str, Callable[[int], float]] = {
    "gaussian 0.01": lambda fan_in: 0.01,
    "gaussian 1": lambda fan_in: 1.0,
    "xavier": lambda fan_in: fan_in**-0.5,
    "he": lambda fan_in: (2 / fan_in) ** 0.5,
}
"""Name to the standard deviation of the weights, from the number of inputs of a unit."""

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"tanh": torch.tanh, "ReLU": torch.relu}


@dataclass(frozen=True)
class Depth:
    """One layer.

    Attributes:
        layer: From 1.
        mean: Of its outputs, after the activation function.
        std: Of its outputs.
        saturated: Share of outputs that pass on no gradient: beyond 0.99 for tanh, 0 for ReLU.
        gradient_std: Of the gradient in its outputs, where that in the last outputs is standard normal.
    """

    layer: int
    mean: float
    std: float
    saturated: float
    gradient_std: float


def depth_statistics(activation: str, init: str, seed: int) -> list[Depth]:
    """The layers of one network.

    Args:
        activation: One of `ACTIVATIONS`.
        init: One of `INITS`.
        seed: Of inputs, weights and the gradient.
    """
    generator = torch.Generator().manual_seed(seed)
    scale, function = INITS[init](UNITS), ACTIVATIONS[activation]
    h = torch.randn(IMAGES, UNITS, generator=generator).requires_grad_(True)
    outputs = []
    for _ in range(LAYERS):
        h = function(h @ (scale * torch.randn(UNITS, UNITS, generator=generator)))
        h.retain_grad()
        outputs.append(h)
    torch.autograd.backward(h, torch.randn(IMAGES, UNITS, generator=generator))
    rows = []
    for layer, output in enumerate(outputs, 1):
        assert output.grad is not None
        gradient, output = float(output.grad.std()), output.detach()
        flat = output.abs() > 0.99 if activation == "tanh" else output == 0
        rows.append(Depth(layer, float(output.mean()), float(output.std()), float(flat.float().mean()), gradient))
    return rows


def all_depths(seed: int) -> dict[tuple[str, str], list[Depth]]:
    """Activation function and initialisation to the layers of that network."""
    return {
        (activation, init): depth_statistics(activation, init, seed) for activation in ACTIVATIONS for init in INITS
    }
