"""How weights that are trained from scratch start: one method for every convolution and linear layer of a network."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import init

from transferkit.choices import INIT_METHODS
from transferkit.errors import TransferkitError, unknown_name

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""The layers whose weights are set. Norms keep scale 1 and shift 0; the fused attention of torchvision's transformers
and embeddings keep the network's own start."""


def initialise(
    network: nn.Module,
    method: str,
    *,
    value: float = 0.01,
    activation: str = "relu",
    seed: int = 0,
    inputs: Tensor | None = None,
) -> None:
    """Set the weights of every convolution and linear layer of a network, in place, and their biases to zero.

    Args:
        network: Any module.
        method: One of `choices.INIT_METHODS`; "default" changes nothing. See `fill_weight` for the others; "lsuv" is
            "orthogonal", each layer then scaled to outputs of unit variance (`scale_to_unit_variance`).
        value: Standard deviation of "gaussian", value of "constant".
        activation: Between the layers, for methods that take account of it: "relu", "tanh" or "linear".
        seed: Of the random weights.
        inputs: A batch that the network takes, for "lsuv".

    Raises:
        TransferkitError: An unknown method, or "lsuv" without inputs.
    """
    if method not in INIT_METHODS:
        raise TransferkitError(unknown_name("init", method, INIT_METHODS, "method"))
    if method == "default":
        return
    if method == "lsuv" and inputs is None:
        raise TransferkitError("The method lsuv scales weights by the outputs for a batch of images: give inputs.")
    generator = torch.Generator().manual_seed(seed)
    for layer in network.modules():
        if isinstance(layer, LAYERS):
            fill_weight(layer.weight, method, value, activation, generator)
            if layer.bias is not None:
                init.zeros_(layer.bias)
    if method == "lsuv" and inputs is not None:
        scale_to_unit_variance(network, inputs)


@torch.no_grad()
def fill_weight(weight: Tensor, method: str, value: float, activation: str, generator: torch.Generator) -> None:
    """Set the weight of one layer.

    "constant" and "gaussian" have the given value. "xavier" is normal with a variance of 2 / (fan_in + fan_out) (Glorot
    & Bengio 2010, equation 12), "he" of 2 / fan_in (He et al. 2015, equation 10). "orthogonal" has orthonormal rows or
    columns times the gain of the activation (Saxe et al. 2014). "random_walk" has a variance of g^2 / fan_in with the g
    for which the logarithm of the gradient's norm is a random walk without drift (Sussillo & Abbott 2014, equations 11
    and 17; the number of units is taken to be fan_in, and tanh to be linear).

    Args:
        weight: (out, in, ...), in place.
        method: One of `choices.INIT_METHODS`, except "default"; "lsuv" starts as "orthogonal" with gain 1.
        value: Standard deviation of "gaussian", value of "constant".
        activation: "relu", "tanh" or "linear".
        generator: Of random numbers.
    """
    fan_in = weight[0].numel()
    if method == "constant":
        init.constant_(weight, value)
    elif method == "gaussian":
        init.normal_(weight, 0.0, abs(value), generator)
    elif method == "xavier":
        init.xavier_normal_(weight, generator=generator)
    elif method == "he":
        init.kaiming_normal_(weight, nonlinearity="relu", generator=generator)
    elif method == "random_walk":
        init.normal_(weight, 0.0, random_walk_gain(fan_in, activation) / math.sqrt(fan_in), generator)
    else:
        gain = math.sqrt(2) if method == "orthogonal" and activation == "relu" else 1.0
        init.orthogonal_(weight, gain, generator)


def random_walk_gain(units: int, activation: str) -> float:
    """The factor g of Sussillo & Abbott 2014: exp(1 / 2N) for linear units, sqrt(2) exp(1.2 / (max(N, 6) - 2.4))."""
    if activation == "relu":
        return math.sqrt(2) * math.exp(1.2 / (max(units, 6) - 2.4))
    return math.exp(1 / (2 * units))


@torch.no_grad()
def scale_to_unit_variance(network: nn.Module, inputs: Tensor) -> None:
    """Scale the weight of every layer, from the first to the last, so that its outputs have unit variance.

    LSUV (Mishkin & Matas 2016, algorithm 1). Outputs of a layer without a bias are proportional to its weight, so one
    pass does what the paper repeats until the variance is near 1.

    Args:
        network: Its biases are zero; it is left in the mode that it is in.
        inputs: A batch.
    """
    training = network.training
    layers = [layer for layer in network.modules() if isinstance(layer, LAYERS)]
    hooks = [layer.register_forward_hook(partial(_scale_once, set[int]())) for layer in layers]
    try:
        network.eval()(inputs)
    finally:
        for hook in hooks:
            hook.remove()
        network.train(training)


def _scale_once(done: set[int], layer: Any, given: Sequence[Any], output: Tensor) -> Tensor | None:
    """A forward hook: scale the layer the first time that it runs, and its output with it."""
    std = float(output.float().std())
    if id(layer) in done or not std > 0:
        return None
    done.add(id(layer))
    layer.weight.div_(std)
    return output / std
