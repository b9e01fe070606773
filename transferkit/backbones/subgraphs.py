"""Splitting of a traced graph into stages. The state at a cut is every value computed before and used after it."""

import operator
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import fx, nn

from transferkit.backbones.local_values import RECOMPUTED, Local, materialise
from transferkit.backbones.trace import Step

_IN_PLACE = {operator.iadd, operator.isub, operator.imul, operator.itruediv}


def crossing(graph: fx.Graph, steps: Sequence[Step], counted: Collection[fx.Node] | None = None) -> list[int]:
    """For every step the number of values (those in `counted`, or all) made up to it and used after it."""
    change = [0] * (len(steps) + 2)
    position = {step.node: i for i, step in enumerate(steps)}
    for node, last in _last_uses(graph, steps).items():
        if counted is not None and node not in counted:
            continue
        change[max(position.get(node, -1), 0)] += 1
        change[last] -= 1
    counts = [0]
    for delta in change:
        counts.append(counts[-1] + delta)
    return counts[1 : len(steps) + 1]


def split(
    model: nn.Module, graph: fx.Graph, steps: Sequence[Step], ends: Mapping[str, int], local: Local | None = None
) -> dict[str, fx.GraphModule]:
    """The stages between the cuts, as graphs that share the network's modules.

    Args:
        model: The network that was traced.
        graph: All of it.
        steps: The operations of the graph, in order.
        ends: Stage name to the index of its last step, in order; the last stage ends with the last step.
        local: What each stage computes anew, see `local_values`.
    """
    local = local or {}
    last_use = {node: last for node, last in _last_uses(graph, steps).items() if node not in local}
    position = {step.node: i for i, step in enumerate(steps)}
    stages: dict[str, fx.GraphModule] = {}
    inputs = list(graph.find_nodes(op="placeholder"))[:1]  # further arguments of `forward` keep their defaults
    begin = 0
    for name, end in ends.items():
        result = steps[end].node
        if name == list(ends)[-1]:
            outputs = [next(iter(graph.find_nodes(op="output"))).args[0]]
        else:
            alive = [n for n, last in last_use.items() if position.get(n, -1) <= end < last and n is not result]
            outputs = [*alive, result]
        nodes = [step.node for step in steps[begin : end + 1]]
        stages[name] = stage_graph(model, name, inputs, nodes, outputs, local)
        inputs, begin = outputs, end + 1
    return stages


def _last_uses(graph: fx.Graph, steps: Sequence[Step]) -> dict[fx.Node, int]:
    """Every value to the last step that uses it; not parameters and defaults of arguments: each stage has its own."""
    position = {step.node: i for i, step in enumerate(steps)}
    own = {"get_attr", "placeholder"}
    image = next(iter(graph.find_nodes(op="placeholder")))
    return {
        node: max(position.get(user, len(steps)) for user in node.users)
        for node in graph.nodes
        if node.users and (node is image or node.op not in own)
    }


def stage_graph(
    model: nn.Module,
    name: str,
    inputs: Sequence[fx.Node],
    nodes: Sequence[fx.Node],
    outputs: Sequence[fx.Node],
    local: Local,
) -> fx.GraphModule:
    """The part of the graph between two cuts.

    Args:
        model: The network.
        name: Of the stage.
        inputs: What comes in; the last is the feature.
        nodes: The operations, in order.
        outputs: What goes out.
        local: What it computes anew where an earlier stage made it.
    """
    part = fx.Graph()
    copies: dict[fx.Node, Any] = {node: part.placeholder(node.name) for node in inputs}
    image = copies[inputs[-1]]
    inside = set(nodes)
    for node in inputs:
        if any(user in inside and _overwrites(model, user) for user in node.users):
            # The caller keeps the state (features of several stages, a cache), so it must not change under them.
            copies[node] = part.call_method("clone", (copies[node],))

    def copied(node: fx.Node) -> Any:
        if node.op == "placeholder" and node not in copies:  # a further argument of `forward`: its default
            return node.args[0] if node.args else None
        if node not in copies:  # made in an earlier stage: a parameter, or what is local
            value = local.get(node, RECOMPUTED)
            constant = value is not RECOMPUTED
            copies[node] = materialise(part, value, image) if constant else part.node_copy(node, copied)
        return copies[node]

    for node in nodes:
        copies[node] = part.node_copy(node, copied)
    result = tuple(copies[node] for node in outputs)
    part.output(result if len(result) > 1 else result[0])
    part.lint()
    return share_modules(model, part, name.capitalize())


def share_modules(owner: nn.Module, graph: fx.Graph, class_name: str) -> fx.GraphModule:
    """The module that runs a graph with the modules, parameters and buffers of `owner` that it names."""
    module = fx.GraphModule(owner, graph, class_name=class_name)
    saved = owner.state_dict().keys()
    for path, buffer in list(module.named_buffers()):
        if path not in saved:  # fx makes every tensor it reads a buffer that is saved
            place, _, attribute = path.rpartition(".")
            module.get_submodule(place).register_buffer(attribute, buffer, persistent=False)
    return module


def _overwrites(model: nn.Module, node: fx.Node) -> bool:
    """Whether an operation works in place on its input."""
    if node.op == "call_module":
        return bool(getattr(model.get_submodule(str(node.target)), "inplace", False))
    if node.op == "call_function":
        return node.target in _IN_PLACE or bool(node.kwargs.get("inplace", False))
    return node.op == "call_method" and str(node.target).endswith("_")
