"""Values that a stage computes anew, instead of taking them from the stage before: sizes, position tables.

Token networks read the number of images or of tokens early and use it late, and hand one table of rotary position
embeddings to every block. Such values say nothing about an image, so they need not cross a cut.
"""

import operator
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from transferkit.backbones.trace import Step

Local = dict[fx.Node, Any]
"""Node to how its value is had again: a constant, in which `PerImage`, `DTYPE` and `DEVICE` stand for what the stage's
own input says; or `RECOMPUTED`."""

DTYPE, DEVICE, RECOMPUTED = object(), object(), object()


@dataclass(frozen=True)
class PerImage:
    """A number that is so many times the number of images."""

    factor: int


def data_nodes(model: nn.Module, graph: fx.Graph, steps: Sequence[Step]) -> set[fx.Node]:
    """The values that depend on the image (not only on its size) or on a parameter that an operation changed."""
    tensors = {step.node for step in steps if step.shape is not None or _holds_tensors(step.value)}
    found: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op == "placeholder":
            found |= set() if found else {node}  # the image, and no further arguments
        elif node in tensors and node.op != "get_attr":
            inputs = node.all_input_nodes
            if any(used in found or _is_parameter(model, used) for used in inputs) or _has_parameters(model, node):
                found.add(node)
    return found


def local_values(steps: Sequence[Step], data: Collection[fx.Node], again: Callable[[], dict[fx.Node, Any]]) -> Local:
    """How to have again what is no data.

    Args:
        steps: All operations, run on one image.
        data: Of `data_nodes`.
        again: Gives all values for two images.
    """
    others = [step for step in steps if step.node not in data and step.node.op != "get_attr"]
    local: Local = {step.node: RECOMPUTED for step in others}
    plain = [step for step in others if step.shape is None and not _holds_tensors(step.value)]
    if plain:
        values = again()
        local |= {step.node: _template(step.value, values[step.node]) for step in plain}
    return local


def materialise(part: fx.Graph, value: Any, image: fx.Node) -> Any:
    """A constant of `Local`, in a graph whose input `image` is the feature."""
    if isinstance(value, PerImage):
        images = part.call_method("size", (image, 0))
        return images if value.factor == 1 else part.call_function(operator.mul, (images, value.factor))
    if value is DTYPE or value is DEVICE:
        return part.call_function(getattr, (image, "dtype" if value is DTYPE else "device"))
    return tuple(materialise(part, item, image) for item in value) if isinstance(value, tuple) else value


def _template(one: Any, two: Any) -> Any:
    """The value for any number of images, from those for one image and for two."""
    if isinstance(one, torch.dtype):
        return DTYPE
    if isinstance(one, torch.device):
        return DEVICE
    if isinstance(one, tuple | list):
        return tuple(_template(a, b) for a, b in zip(one, two, strict=True))
    if isinstance(one, int) and not isinstance(one, bool) and one != two:
        return PerImage(two - one)
    return one


def _holds_tensors(value: Any) -> bool:
    return isinstance(value, tuple | list) and any(isinstance(v, torch.Tensor) or _holds_tensors(v) for v in value)


def _is_parameter(model: nn.Module, node: fx.Node) -> bool:
    if node.op != "get_attr":
        return False
    owner, _, name = str(node.target).rpartition(".")
    return isinstance(getattr(model.get_submodule(owner), name), nn.Parameter)


def _has_parameters(model: nn.Module, node: fx.Node) -> bool:
    return node.op == "call_module" and any(True for _ in model.get_submodule(str(node.target)).parameters())
