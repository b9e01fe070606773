"""A network as a flat graph of operations, with their output shapes."""

import inspect
import sys
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torchvision.models.feature_extraction import NodePathTracer


@dataclass(frozen=True)
class Step:
    """One operation of the graph.

    Attributes:
        node: The graph's node.
        path: Its position in the network: "layer1.0.conv1", "layer1.0.add".
        shape: Of the output tensor for one image; None if the output is not a tensor.
    """

    node: fx.Node
    path: str
    shape: tuple[int, ...] | None


class _Tracer(NodePathTracer):  # type: ignore[misc]
    """Stops at modules without children, so that their training mode (dropout, drop-path) can still be switched."""

    def is_leaf_module(self, m: nn.Module, module_qualname: str) -> bool:
        return next(m.children(), None) is None or bool(super().is_leaf_module(m, module_qualname))


def trace(model: nn.Module, input_size: tuple[int, int]) -> tuple[fx.Graph, list[Step]]:
    """Trace a network and run one image of `input_size` through it, in eval mode.

    Returns:
        The graph, and its operations in order (without the input and the output).

    Raises:
        Exception: Of many kinds, from torch.fx or the network, if its `forward` depends on values.
    """
    model.eval()
    layers = sys.modules.get("timm.layers")  # if it is not loaded, the network has none of its modules
    leaves = layers.get_notrace_modules() if layers else []
    functions = layers.get_notrace_functions() if layers else []
    tracer = _Tracer(leaf_modules=leaves, autowrap_functions=functions)
    graph = tracer.trace(model)
    if not isinstance(next(iter(graph.find_nodes(op="output"))).args[0], fx.Node):
        raise TypeError("it returns more than one tensor")
    _make_dropout_switchable(model, graph)
    shapes = _Shapes(model, graph)
    with torch.no_grad():
        shapes.run(torch.zeros(1, 3, *input_size))
    steps = [
        Step(node, tracer.node_to_qualname.get(node, node.name), shapes.found.get(node))
        for node in graph.nodes
        if node.op not in ("placeholder", "output")
    ]
    return graph, steps


def _make_dropout_switchable(model: nn.Module, graph: fx.Graph) -> None:
    """Replace functional dropout, which is traced as disabled, by modules that `train()` enables."""
    for node in graph.nodes:
        if node.op == "call_function" and node.target is nn.functional.dropout:
            given = inspect.signature(nn.functional.dropout).bind(*node.args, **node.kwargs).arguments
            name = f"functional_{node.name}"
            model.add_module(name, nn.Dropout(given.get("p", 0.5)))
            node.op, node.target, node.args, node.kwargs = "call_module", name, (given["input"],), {}


class _Shapes(fx.Interpreter):
    def __init__(self, model: nn.Module, graph: fx.Graph) -> None:
        super().__init__(model, graph=graph)
        self.found: dict[fx.Node, tuple[int, ...]] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, torch.Tensor):
            self.found[n] = tuple(value.shape)
        return value
