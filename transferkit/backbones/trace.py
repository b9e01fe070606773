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
        value: Its output for one image, if that is not a tensor.
    """

    node: fx.Node
    path: str
    shape: tuple[int, ...] | None
    value: Any = None


class _Tracer(NodePathTracer):  # type: ignore[misc]
    """Stops at modules without children, so that their training mode (dropout, drop-path) can still be switched."""

    def __init__(self, whole: set[int], **settings: Any) -> None:
        super().__init__(**settings)
        self._whole = whole

    def iter(self, obj: fx.Proxy) -> Any:
        """Unpack `*size`: height and width, as nothing else is unpacked so in these networks."""
        try:
            return super().iter(obj)
        except fx.proxy.TraceError:
            pair: Any = obj
            return iter((pair[0], pair[1]))

    def is_leaf_module(self, m: nn.Module, module_qualname: str) -> bool:
        if id(m) in self._whole or next(m.children(), None) is None or _drops_attention(m):
            return True
        return bool(super().is_leaf_module(m, module_qualname))


def trace(model: nn.Module, input_size: tuple[int, int], blocks: bool = False) -> tuple[fx.Graph, list[Step]]:
    """Trace a network and run one image of `input_size` through it, in eval mode.

    Args:
        model: The network.
        input_size: Height and width.
        blocks: Whether the members of a network's sequences and lists (a transformer's blocks) stay whole: many of
            them branch on shapes, which torch.fx cannot follow.

    Returns:
        The graph, and its operations in order (without the input and the output).

    Raises:
        Exception: Of many kinds, from torch.fx or the network, if its `forward` depends on values.
    """
    model.eval()
    further = list(inspect.signature(model.forward).parameters.values())[1:]
    defaults = {argument.name: argument.default for argument in further if argument.default is not argument.empty}
    try:
        return _trace(model, input_size, blocks, {})
    except Exception:
        if not defaults:
            raise
        return _trace(model, input_size, blocks, defaults)  # for networks that branch on a mask, or none


def _trace(
    model: nn.Module, input_size: tuple[int, int], blocks: bool, fixed: dict[str, Any]
) -> tuple[fx.Graph, list[Step]]:
    """`trace`, with fixed values of some arguments of `forward`."""
    layers = sys.modules.get("timm.layers")  # if it is not loaded, the network has none of its modules
    leaves = layers.get_notrace_modules() if layers else []
    functions = layers.get_notrace_functions() if layers else []
    whole = members(model) if blocks else set()
    options: dict[str, Any] = {"leaf_modules": leaves, "autowrap_functions": functions}
    tracer = _Tracer(whole, **options)
    graph = tracer.trace(model, concrete_args=fixed or None)
    if _loses_buffers(model, graph):  # what is computed from them became constants
        tracer = _Tracer(whole, **options)
        tracer.proxy_buffer_attributes = True
        graph = tracer.trace(model, concrete_args=fixed or None)
    if not isinstance(next(iter(graph.find_nodes(op="output"))).args[0], fx.Node):
        raise TypeError("it returns more than one tensor")
    _make_dropout_switchable(model, graph)
    values = run(model, graph, input_size)
    steps = [
        _step(node, tracer.node_to_qualname.get(node, node.name), values[node])
        for node in graph.nodes
        if node.op not in ("placeholder", "output")
    ]
    return graph, steps


def members(model: nn.Module) -> set[int]:
    """The identities of the modules that stand in a sequence or list."""
    lists = (module for module in model.modules() if isinstance(module, nn.ModuleList | nn.Sequential))
    return {id(child) for sequence in lists for child in sequence.children()}


@torch.no_grad()
def run(model: nn.Module, graph: fx.Graph, input_size: tuple[int, int], images: int = 1) -> dict[fx.Node, Any]:
    """The value of each node for some black images; tensors are replaced by their shapes, as tensors without memory."""
    values = _Values(model, graph)
    values.run(torch.zeros(images, 3, *input_size))
    return values.found


def _loses_buffers(model: nn.Module, graph: fx.Graph) -> bool:
    """Whether a graph does without some buffers that are saved with the network (a window's position indices)."""
    used = {str(node.target) for node in graph.nodes if node.op in ("call_module", "get_attr")}
    saved = model.state_dict().keys() & {name for name, _ in model.named_buffers()}
    return any(name not in used and not any(name.startswith(f"{path}.") for path in used) for name in saved)


def _drops_attention(module: nn.Module) -> bool:
    """Whether a module hands a dropout rate to attention, which a graph traced in eval mode would fix at zero."""
    dropout = getattr(module, "attn_drop", None)
    return isinstance(dropout, nn.Dropout) and dropout.p > 0


def _step(node: fx.Node, path: str, value: Any) -> Step:
    return Step(node, path, tuple(value.shape)) if isinstance(value, torch.Tensor) else Step(node, path, None, value)


def _make_dropout_switchable(model: nn.Module, graph: fx.Graph) -> None:
    """Replace functional dropout, which is traced as disabled, by modules that `train()` enables."""
    for node in graph.nodes:
        if node.op == "call_function" and node.target is nn.functional.dropout:
            given = inspect.signature(nn.functional.dropout).bind(*node.args, **node.kwargs).arguments
            name = f"functional_{node.name}"
            model.add_module(name, nn.Dropout(given.get("p", 0.5)))
            node.op, node.target, node.args, node.kwargs = "call_module", name, (given["input"],), {}


class _Values(fx.Interpreter):
    def __init__(self, model: nn.Module, graph: fx.Graph) -> None:
        super().__init__(model, graph=graph)
        self.found: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        self.found[n] = _without_memory(value)
        return value


def _without_memory(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to("meta")
    return type(value)(map(_without_memory, value)) if type(value) in (tuple, list) else value
