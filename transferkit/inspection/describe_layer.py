"""Modules as layers: which of them are rows, and how kind, filters, kernel, stride and padding are written."""

from collections.abc import Iterator
from typing import Any

from torch import fx, nn
from torch.nn.modules import activation as torch_activations
from torch.nn.modules.batchnorm import _BatchNorm

from transferkit.inspection.layers import Pair

_KINDS: tuple[tuple[Any, str], ...] = (
    (_BatchNorm, "batch norm"),
    (nn.LayerNorm, "layer norm"),
    (nn.GroupNorm, "group norm"),
    (nn.LocalResponseNorm, "local response norm"),
    (nn.Linear, "linear"),
    (nn.MultiheadAttention, "attention"),
    ((nn.MaxPool2d, nn.AdaptiveMaxPool2d), "max pool"),
    ((nn.AvgPool2d, nn.AdaptiveAvgPool2d), "average pool"),
)

ACTIVATIONS = {
    "relu": "ReLU",
    "hardtanh": "ReLU6",
    "leaky_relu": "LeakyReLU",
    "gelu": "GELU",
    "silu": "SiLU",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "hardswish": "Hardswish",
    "hardsigmoid": "Hardsigmoid",
    "elu": "ELU",
    "mish": "Mish",
}
"""torch's operation to the name of the activation function."""


def is_activation(module: nn.Module) -> bool:
    """Whether a module is an activation function: one of torch, or of a library's module of activations."""
    if next(module.parameters(), None) is not None or isinstance(module, nn.MultiheadAttention):
        return False
    path = type(module).__module__
    return type(module).__name__ in torch_activations.__all__ or "activations" in path or "activation" in path


def is_layer(module: nn.Module) -> bool:
    """Whether a module is a row of its own.

    That is one with parameters none of which belong to its children (a convolution; a batch norm with its activation as
    a child), or one without parameters that pools or normalises.
    """
    if isinstance(module, nn.MultiheadAttention):
        return True
    children = list(module.children())
    if isinstance(module, fx.GraphModule) or any(True for child in children for _ in child.parameters()):
        return False
    if any(True for _ in module.parameters(recurse=False)):
        return True
    name = type(module).__name__
    return not children and ("Pool" in name or "Norm" in name) and not is_activation(module)


def layers_in(part: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The modules of a network that are rows, or activation functions, with their paths."""
    if not path and (is_layer(part) or is_activation(part)):
        yield "", part
        return
    for name, child in part.named_children():
        below = f"{path}.{name}" if path else name
        if is_layer(child) or is_activation(child):
            yield below, child
        else:
            yield from layers_in(child, below)


def describe(module: nn.Module) -> dict[str, Any]:
    """The entries of a row that a module's attributes give: kind, filters, kernel, stride, padding, groups."""
    if isinstance(module, nn.Conv2d):
        return {
            "kind": _convolution(module),
            "filters": module.out_channels,
            "kernel": pair(module.kernel_size),
            "stride": pair(module.stride),
            "padding": None if isinstance(module.padding, str) else pair(module.padding),
            "groups": module.groups,
        }
    entries: dict[str, Any] = {"kind": next((kind for types, kind in _KINDS if isinstance(module, types)), "")}
    entries["kind"] = entries["kind"] or _by_name(module)
    if isinstance(module, nn.Linear):
        entries["filters"] = module.out_features
    kernel: Any = getattr(module, "kernel_size", None)
    if "pool" in entries["kind"] and kernel is not None:
        stride: Any = getattr(module, "stride", None)
        padding: Any = getattr(module, "padding", 0)
        entries |= {"kernel": pair(kernel), "stride": pair(stride or kernel), "padding": pair(padding)}
    return entries


def pair(value: Any) -> Pair:
    """Height and width from one number, or from two."""
    values = [int(one) for one in value] if isinstance(value, tuple | list) else [int(value)]
    return (values[0], values[-1])


def _convolution(module: nn.Conv2d) -> str:
    if module.groups == 1:
        return "convolution"
    return "depthwise conv." if module.groups == module.in_channels else "grouped conv."


def _by_name(module: nn.Module) -> str:
    """The kind of a library's own layer, from the name of its class."""
    name = type(module).__name__
    for part, kind in (("BatchNorm", "batch norm"), ("LayerNorm", "layer norm"), ("GroupNorm", "group norm")):
        if part in name:
            return kind
    if "Pool" in name:
        return "max pool" if "Max" in name else "average pool"
    return {"LayerScale": "layer scale", "LayerScale2d": "layer scale"}.get(name, name)
