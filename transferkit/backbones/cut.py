"""Cut a network into stages: where, and the graph of each.

A cut may lie after any operation; what crosses it is the state that leaves a stage, its last tensor the feature. The
places come from a table (`tables.py`), else from timm's feature information, else from the automatic rule. Strides are
measured, never believed.
"""

import math
import operator
from collections.abc import Mapping, Sequence

from torch import fx, nn

from transferkit.backbones.tables import cut_table
from transferkit.backbones.trace import Step, trace
from transferkit.errors import TransferkitError
from transferkit.stage import StageInfo

_SMALLEST_MEASURE = 64  # below this a map of stride 32 has one pixel and looks like its own global pool
_FEWEST_MAPS = 3  # a ViT's patches or a Swin's first and last map do not make a sequence of stages

_IN_PLACE = {operator.iadd, operator.isub, operator.imul, operator.itruediv}


def cut(
    model: nn.Module, input_size: tuple[int, int], name: str
) -> tuple[dict[str, fx.GraphModule], dict[str, StageInfo]]:
    """Cut a network into stages that share its modules.

    Args:
        model: The original network; it is put in eval mode.
        input_size: Height and width that the network is made for, in pixels; strides are measured with it.
        name: For messages.

    Returns:
        Stage name to graph, in order, and to what leaves it.

    Raises:
        TransferkitError: If the network cannot be traced or has no sequence of feature maps.
    """
    size = (max(input_size[0], _SMALLEST_MEASURE), max(input_size[1], _SMALLEST_MEASURE))
    try:
        graph, steps = trace(model, size)
    except Exception as error:  # torch.fx and the networks raise all kinds
        reason = str(error).strip().split("\n")[0]
        raise _uncuttable(name, f"it cannot be traced ({type(error).__name__}: {reason})") from error
    levels = [_level(step.shape, size) for step in steps]
    ends = _cuts(model, steps, levels, _crossing(graph, steps))
    if sum(stage.startswith("stage") for stage in ends) < _FEWEST_MAPS:
        raise _uncuttable(name, "it has no sequence of feature maps (N, C, H, W) that halve in size")
    ends = dict(sorted(ends.items(), key=lambda item: item[1]))
    if max(ends.values()) < len(steps) - 1:
        ends["head"] = len(steps) - 1
    return _split(model, graph, steps, ends), _infos(steps, levels, ends)


def _uncuttable(name: str, why: str) -> TransferkitError:
    return TransferkitError(
        f"backbone.name: {name} cannot be cut into stages: {why}. Convolutional networks can: backbone=resnet50, or "
        "backbone=timm with backbone.name=convnext_tiny, for example."
    )


def _level(shape: tuple[int, ...] | None, size: tuple[int, int]) -> int | None:
    """Log2 of the stride of a feature map; None for anything but a map that shrinks alike in both directions."""
    if shape is None or len(shape) != 4:
        return None
    down, across = (round(math.log2(before / after)) for before, after in zip(size, shape[2:], strict=True))
    return down if down == across else None


def _cuts(
    model: nn.Module, steps: Sequence[Step], levels: Sequence[int | None], crossing: Sequence[int]
) -> dict[str, int]:
    """Stage name to the index of its last step."""
    table = cut_table(model)
    if table is not None:
        return {stage: _end_of(module, steps) for stage, module in table.items()}
    ends = _declared(model, steps, levels)
    if len(ends) < _FEWEST_MAPS:
        ends = _automatic(steps, levels, crossing)
    if ends:
        # The top feature is the one that the original classifier pools: after DenseNet's last norm, MobileNet's last conv.
        top = max(ends)
        alone = [i for i, level in enumerate(levels) if level == top and crossing[i] == 1]
        ends[top] = max([ends[top], *alone])
    return {f"stage{level}": end for level, end in ends.items()}


def _declared(model: nn.Module, steps: Sequence[Step], levels: Sequence[int | None]) -> dict[int, int]:
    """Level to step from timm's feature information, as far as the measured stride agrees."""
    ends: dict[int, int] = {}
    for entry in getattr(model, "feature_info", None) or ():
        try:
            end = _end_of(entry["module"], steps)
        except (KeyError, TransferkitError):
            continue
        level = levels[end]
        if level is not None and 1 <= level <= 5 and 2**level == entry["reduction"]:
            ends[level] = end
    return ends


def _automatic(steps: Sequence[Step], levels: Sequence[int | None], crossing: Sequence[int]) -> dict[int, int]:
    """Level to the last step at that stride where one tensor crosses, at the end of a block if there is such a step."""
    ends: dict[int, int] = {}
    for at_block_end in (False, True):
        for i, level in enumerate(levels[:-1]):
            if level is None or not 1 <= level <= 5 or crossing[i] != 1:
                continue
            if not at_block_end or _block(steps[i]) != _block(steps[i + 1]):
                ends[level] = i
    return ends


def _block(step: Step) -> list[str]:
    return step.path.split(".")[:2]


def _end_of(module: str, steps: Sequence[Step]) -> int:
    inside = [i for i, step in enumerate(steps) if step.path == module or step.path.startswith(f"{module}.")]
    if not inside:
        raise TransferkitError(f"backbone: the network never runs {module!r}, where a stage should end.")
    return inside[-1]


def _last_uses(graph: fx.Graph, steps: Sequence[Step]) -> dict[fx.Node, int]:
    """Every value (parameters excepted, each stage gets its own) to the last step that uses it."""
    position = {step.node: i for i, step in enumerate(steps)}
    return {
        node: max(position.get(user, len(steps)) for user in node.users)
        for node in graph.nodes
        if node.users and node.op != "get_attr"
    }


def _crossing(graph: fx.Graph, steps: Sequence[Step]) -> list[int]:
    """For every step the number of values that are made up to it and used after it."""
    change = [0] * (len(steps) + 2)
    position = {step.node: i for i, step in enumerate(steps)}
    for node, last in _last_uses(graph, steps).items():
        change[max(position.get(node, -1), 0)] += 1
        change[last] -= 1
    counts = [0]
    for delta in change:
        counts.append(counts[-1] + delta)
    return counts[1 : len(steps) + 1]


def _split(
    model: nn.Module, graph: fx.Graph, steps: Sequence[Step], ends: Mapping[str, int]
) -> dict[str, fx.GraphModule]:
    last_use = _last_uses(graph, steps)
    position = {node: i for i, node in enumerate([step.node for step in steps])}
    stages: dict[str, fx.GraphModule] = {}
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    begin = 0
    for name, end in ends.items():
        result = steps[end].node
        if name == list(ends)[-1]:
            outputs = [next(iter(graph.find_nodes(op="output"))).args[0]]
        else:
            alive = [n for n, last in last_use.items() if position.get(n, -1) <= end < last and n is not result]
            outputs = [*alive, result]
        stages[name] = _stage(model, name, inputs, [step.node for step in steps[begin : end + 1]], outputs)
        inputs, begin = outputs, end + 1
    return stages


def _stage(
    model: nn.Module, name: str, inputs: Sequence[fx.Node], nodes: Sequence[fx.Node], outputs: Sequence[fx.Node]
) -> fx.GraphModule:
    """The part of the graph between two cuts."""
    part = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {node: part.placeholder(node.name) for node in inputs}
    for node in inputs:
        if any(user in nodes and _overwrites(model, user) for user in node.users):
            # The caller keeps the state (features of several stages, a cache), so it must not change under them.
            copies[node] = part.call_method("clone", (copies[node],))
    for node in nodes:
        for used in node.all_input_nodes:
            if used not in copies:  # a parameter read in an earlier stage
                copies[used] = part.node_copy(used)
        copies[node] = part.node_copy(node, copies.__getitem__)
    result = tuple(copies[node] for node in outputs)
    part.output(result if len(result) > 1 else result[0])
    part.lint()
    stage = fx.GraphModule(model, part, class_name=name.capitalize())
    saved = model.state_dict().keys()
    for path, buffer in list(stage.named_buffers()):
        if path not in saved:  # fx makes every tensor it reads a buffer that is saved
            owner, _, attribute = path.rpartition(".")
            stage.get_submodule(owner).register_buffer(attribute, buffer, persistent=False)
    return stage


def _overwrites(model: nn.Module, node: fx.Node) -> bool:
    """Whether an operation works in place on its input."""
    if node.op == "call_module":
        return bool(getattr(model.get_submodule(str(node.target)), "inplace", False))
    if node.op == "call_function":
        return node.target in _IN_PLACE or bool(node.kwargs.get("inplace", False))
    return node.op == "call_method" and str(node.target).endswith("_")


def _infos(steps: Sequence[Step], levels: Sequence[int | None], ends: Mapping[str, int]) -> dict[str, StageInfo]:
    infos: dict[str, StageInfo] = {}
    stride = 1
    for name, end in ends.items():
        shape, level = steps[end].shape, levels[end]
        spatial = name.startswith("stage")
        stride = 2 ** (level or 0) if spatial else stride
        infos[name] = StageInfo(name, shape[1] if shape is not None else 0, stride, spatial)
    return infos
