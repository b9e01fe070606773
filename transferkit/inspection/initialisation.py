"""Activations and gradients of a deep network before training, by how it is initialised.

The experiment of CS231n (lecture on training): ten layers of 500 units, inputs from a standard normal distribution.
Glorot & Bengio 2010 and He et al. 2015 derive the two scales at which the spread neither vanishes nor explodes; the
other methods are those with which networks can be trained from scratch (`training.initialise`).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from transferkit.training.initialise import initialise

LAYERS, UNITS, IMAGES = 10, 500, 1000

INITS: dict[str, tuple[str, float]] = {
    "gaussian 0.01": ("gaussian", 0.01),
    "gaussian 1": ("gaussian", 1.0),
    "xavier": ("xavier", 0.0),
    "he": ("he", 0.0),
    "orthogonal": ("orthogonal", 0.0),
    "lsuv": ("lsuv", 0.0),
    "random walk": ("random_walk", 0.0),
}
"""Name to the method of `training.initialise`, and its value."""

ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "ReLU": nn.ReLU}


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
    h = torch.randn(IMAGES, UNITS, generator=generator).requires_grad_(True)
    network = nn.Sequential()
    for _ in range(LAYERS):
        network.append(nn.Sequential(nn.Linear(UNITS, UNITS, bias=False), ACTIVATIONS[activation]()))
    method, value = INITS[init]
    # Another seed than that of the inputs, of which the first weights would be a copy.
    initialise(network, method, value=value, activation=activation.lower(), seed=seed + 1, inputs=h.detach())
    outputs = list[Tensor]()
    for layer in network:
        h = layer(h)
        h.retain_grad()
        outputs.append(h)
    torch.autograd.backward(h, torch.randn(IMAGES, UNITS, generator=generator))
    rows = []
    for number, output in enumerate(outputs, 1):
        assert output.grad is not None
        gradient, output = float(output.grad.std()), output.detach()
        flat = output.abs() > 0.99 if activation == "tanh" else output == 0
        rows.append(Depth(number, float(output.mean()), float(output.std()), float(flat.float().mean()), gradient))
    return rows


def all_depths(seed: int) -> dict[tuple[str, str], list[Depth]]:
    """Activation function and initialisation to the layers of that network."""
    return {
        (activation, init): depth_statistics(activation, init, seed) for activation in ACTIVATIONS for init in INITS
    }
