"""The outputs of a transformer's last blocks side by side, each after the final norm: the features "last1", "last2" ...

These are the features of DINOv2's linear evaluation (Oquab et al. 2023, appendix B.3, and `linear.py` of its
repository) and of timm's `get_intermediate_layers(norm=True)`. The graph of each stage marks the nodes that are outputs
of blocks; for the features its graph is written again so that it also gives out the marked values, in the same pass.
"""

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from torch import fx, nn

from transferkit.backbones.native_pool import PooledStage, graph_of
from transferkit.backbones.stages import StageInfo
from transferkit.backbones.subgraphs import share_modules
from transferkit.backbones.token_cuts import Cut
from transferkit.backbones.trace import Step
from transferkit.errors import TransferkitError

_BLOCK = "transferkit_block"
"""Key in the `meta` of a node: "inner" for the output of a block, "final" for that of the last one."""
_ADDED = "transferkit_added"
"""Key in the `meta` of nodes that `give_out_blocks` adds."""


def count_in_name(name: str) -> int:
    """How many blocks a name asks for: 4 of "last4"; 0 if it is none of these names."""
    number = name.removeprefix("last")
    return int(number) if number != name and number.isascii() and number.isdecimal() and number[0] != "0" else 0


def mark_blocks(model: nn.Module, steps: Sequence[Step], blocks: Sequence[int], cuts: Mapping[str, Cut]) -> None:
    """Mark the outputs of a network's blocks if all have the same shape, and only a norm follows the last one.

    Args:
        model: The network.
        steps: Its operations.
        blocks: The steps that are outputs of blocks, in order.
        cuts: The stages.
    """
    top = list(cuts.values())[-1]
    layouts = {(cut.layout.kind, cut.layout.channels, cut.layout.grid) for cut in cuts.values()}
    if not blocks or len(layouts) > 1 or top.layout.kind != "tokens" or top.end < blocks[-1]:
        return
    after = steps[blocks[-1] + 1 : top.end + 1]
    alike = {step.shape for step in [*(steps[i] for i in blocks), *after]}
    if len(alike) == 1 and all(_is_norm(model, step.node) for step in after):
        for i in blocks:
            steps[i].node.meta[_BLOCK] = "final" if i == blocks[-1] else "inner"


def _is_norm(model: nn.Module, node: fx.Node) -> bool:
    """Whether an operation that keeps the shape is a norm, or nothing in eval mode."""
    if node.op != "call_module":  # SigLIP takes the tokens after no class token
        return node.target is operator.getitem
    module = model.get_submodule(str(node.target))
    return "Norm" in type(module).__name__ or isinstance(module, nn.Identity | nn.Dropout)


def count_blocks(stages: Iterable[nn.Module]) -> int:
    """The blocks whose outputs these stages can give out; 0 unless the last block is among them."""
    graphs = [graph_of(stage).graph for stage in stages if isinstance(stage, PooledStage | fx.GraphModule)]
    marks = [node.meta[_BLOCK] for graph in graphs for node in graph.nodes if _BLOCK in node.meta]
    return len(marks) if "final" in marks else 0


def part_names(patterns: Iterable[str]) -> tuple[list[str], list[str]]:
    """The patterns of stages, and the names of features of the last blocks, the fewest blocks first."""
    given = list(patterns)
    last = {name for name in given if count_in_name(name)}
    return [name for name in given if name not in last], sorted(last, key=count_in_name)


def check_last(names: Sequence[str], where: str, available: int, network: str, stages: Sequence[str]) -> None:
    """Refuse features of the last blocks that cannot be had.

    Args:
        names: Such as "last4", as `part_names` returns them.
        where: The configuration key named in an error.
        available: The blocks there are.
        network: Its name.
        stages: Asked for beside them.

    Raises:
        TransferkitError: There are fewer blocks, or none; or the classifier's output is asked for too.
    """
    if not available:
        raise TransferkitError(
            f"{where}: {names[0]} is the output of the last blocks of a transformer, but {network} has no blocks of "
            "one width with a norm after the last: name stages instead (stage5), or use another network, for example "
            "backbone=timm backbone.name=vit_small_patch14_dinov2."
        )
    if count_in_name(names[-1]) > available:
        raise TransferkitError(
            f"{where}: there is no {names[-1]}: {network} has {available} blocks, last1 to last{available}."
        )
    if "head" in stages:
        raise TransferkitError(f"{where}: head and {names[0]} cannot be computed together: name one of them.")


def describe_last(name: str, top: StageInfo) -> StageInfo:
    """The description of the feature `name`, given that of the top stage."""
    count, plain = count_in_name(name), top.pool != "native"
    pool = top.pool if plain else "avg"
    return replace(top, name=name, channels=count * top.channels, pool=pool, native=top.native and plain, blocks=count)


def give_out_blocks(stages: Mapping[str, nn.Module], count: int) -> dict[str, nn.Module]:
    """Stages, sharing the modules of these, that carry the outputs of the last blocks on to the end.

    Args:
        stages: All up to the top one.
        count: n, at least 1.

    Returns:
        Stages whose states are tuples of the blocks' outputs so far and the feature. The top one gives the
        last n blocks' outputs (N, L, C), each after the final norm.
    """
    first, seen, carried = count_blocks(stages.values()) - count, 0, 0
    given: dict[str, nn.Module] = {}
    for name, stage in stages.items():
        old = graph_of(stage)
        blocks = [node for node in old.graph.nodes if _BLOCK in node.meta]
        chosen = [node for i, node in enumerate(blocks, seen) if i >= first and node.meta[_BLOCK] == "inner"]
        new = share_modules(old, _carry(old.graph, carried, chosen), type(old).__name__)
        given[name] = PooledStage(new, stage.native_pool) if isinstance(stage, PooledStage) else new
        given[name].training = stage.training
        seen, carried = seen + len(blocks), carried + len(chosen)
    return given


def _carry(graph: fx.Graph, carried: int, chosen: Sequence[fx.Node]) -> fx.Graph:
    """The graph of a stage that takes so many blocks' outputs before its own input, and gives out the chosen ones too.

    What an earlier call has added is left out.
    """
    part = fx.Graph()
    values = [part.placeholder(f"output_of_block_{i}") for i in range(carried)]
    for value in values:
        value.meta[_ADDED] = True
    copies: dict[fx.Node, fx.Node] = {}
    own = [node for node in graph.nodes if node.op != "output" and _ADDED not in node.meta]
    for node in own:
        copies[node] = part.node_copy(node, copies.__getitem__)
    values += [copies[node] for node in chosen]
    final = next((i for i, node in enumerate(own) if node.meta.get(_BLOCK) == "final"), None)
    if final is not None:
        values = [_normed(part, own[final:], value) for value in values]
    result = next(iter(graph.find_nodes(op="output"))).args[0]
    feature = copies[result[-1] if isinstance(result, tuple | list) else result]
    part.output((*values, feature) if values else feature)
    part.lint()
    return part


def _normed(part: fx.Graph, chain: Sequence[fx.Node], value: fx.Node) -> fx.Node:
    """A block's output after the operations that follow the last block, whose output is the first of the chain."""
    copies = {chain[0]: value}
    for node in chain[1:]:
        copies[node] = part.node_copy(node, copies.__getitem__)
        copies[node].meta = {_ADDED: True}
    return copies[chain[-1]]
