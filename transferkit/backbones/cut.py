"""Cutting a network into stages: the positions of the cuts, and the graph of each stage.

A cut may be after any operation; the tensors that cross it are the output of a stage, the last of them the feature. The
positions come from a table (`boundaries.py`), else from timm's feature information, else from the automatic rule, else,
for networks of tokens, from `token_cuts.py`. Strides are always measured.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import fx, nn

from transferkit.backbones.boundaries import cut_table
from transferkit.backbones.last_blocks import mark_blocks
from transferkit.backbones.local_values import data_nodes, local_values
from transferkit.backbones.map_cuts import map_ends, map_level
from transferkit.backbones.native_pool import PooledStage, top_pool
from transferkit.backbones.stages import StageInfo
from transferkit.backbones.subgraphs import crossing, split
from transferkit.backbones.token_cuts import (
    Cut,
    Rule,
    blocks_in_groups,
    by_stride,
    channels_first,
    find_blocks,
    is_flat,
)
from transferkit.backbones.trace import Step, run, trace
from transferkit.errors import TransferkitError

_SMALLEST_MEASURE = 64  # below this a map of stride 32 has one pixel and looks like its own global pool
_FEWEST_MAPS = 3

Stages = tuple[dict[str, nn.Module], dict[str, StageInfo]]
"""Stage name to graph, in order, and to a description of its output."""


def cut(model: nn.Module, input_size: tuple[int, int], name: str) -> Stages:
    """Cut a network into stages that share its modules.

    Args:
        model: The original network; it is put in eval mode.
        input_size: Height and width that the network is made for, in pixels; strides are measured with it.
        name: For messages.

    Returns:
        Stage name to graph, in order, and to a description of its output.

    Raises:
        TransferkitError: If the network cannot be traced or has no sequence of features.
    """
    reasons: list[str] = []
    for attempt in (_whole_blocks, _any_step) if is_flat(model) else (_any_step, _whole_blocks):
        stages, reason = attempt(model, input_size)
        if stages is not None:
            return stages
        reasons.append(reason)
    raise _uncuttable(name, reasons[-1] or "it has no sequence of feature maps, or of blocks of tokens")


def _any_step(model: nn.Module, input_size: tuple[int, int]) -> tuple[Stages | None, str]:
    """Cut by stride after any operation; return the reason if that is impossible."""
    size = (max(input_size[0], _SMALLEST_MEASURE), max(input_size[1], _SMALLEST_MEASURE))
    graph, steps, reason = _traced(model, size, blocks=False)
    if graph is None:
        return None, reason
    ends = map_ends(model, steps, size, crossing(graph, steps))
    if cut_table(model) is not None or sum(stage.startswith("stage") for stage in ends) >= _FEWEST_MAPS:
        return _of_maps(model, graph, steps, ends, size), ""
    return _of_tokens(model, graph, steps, size, [by_stride]), ""


def _whole_blocks(model: nn.Module, input_size: tuple[int, int]) -> tuple[Stages | None, str]:
    """Cut between blocks, which need not be traceable; return the reason if that is impossible."""
    graph, steps, reason = _traced(model, input_size, blocks=True)
    if graph is None:
        return None, reason
    flat = is_flat(model)
    rules = [blocks_in_groups] if flat else [by_stride, blocks_in_groups]
    stages = _of_tokens(model, graph, steps, input_size, rules)
    grids = {info.grid for info in stages[1].values() if info.grid is not None} if stages is not None else set()
    return (stages if not flat or len(grids) == 1 else None), ""


def _traced(model: nn.Module, size: tuple[int, int], blocks: bool) -> tuple[fx.Graph | None, list[Step], str]:
    """The graph and its operations, or the reason why it cannot be traced."""
    try:
        return *trace(model, size, blocks), ""
    except Exception as error:  # torch.fx and the networks raise all kinds
        if (parameter := next(model.parameters(), None)) is not None and parameter.is_meta:
            raise  # with values it may succeed
        reason = str(error).strip().split("\n")[0]
        return None, [], f"it cannot be traced ({type(error).__name__}: {reason})"


def _uncuttable(name: str, why: str) -> TransferkitError:
    return TransferkitError(
        f"backbone.name: {name} cannot be cut into stages: {why}. Other networks can: backbone=resnet50, or "
        "backbone=timm with backbone.name=convnext_tiny or vit_small_patch16_224, for example."
    )


def _of_maps(
    model: nn.Module, graph: fx.Graph, steps: Sequence[Step], ends: Mapping[str, int], size: tuple[int, int]
) -> Stages:
    ends = dict(sorted(ends.items(), key=lambda item: item[1]))
    if max(ends.values()) < len(steps) - 1:
        ends["head"] = len(steps) - 1
    infos: dict[str, StageInfo] = {}
    stride = 1
    for name, end in ends.items():
        shape = steps[end].shape
        level = map_level(shape, size)
        if name.startswith("stage"):
            stride = 2 ** (level or 0)
            assert shape is not None
            infos[name] = StageInfo(name, shape[1], stride, "map", grid=(shape[2], shape[3]))
        else:
            infos[name] = StageInfo(name, shape[1] if shape is not None else 0, stride, "vector")
    if "head" in ends:
        top = [name for name in infos if name != "head"][-1]
        alone = [n == 1 for n in crossing(graph, steps)]
        plain = infos[top].kind == "map" and top_pool(model, steps, alone, ends[top], {}, infos[top]).name == "avg"
        infos[top] = replace(infos[top], native=plain)
    return dict(split(model, graph, steps, ends)), infos


def _of_tokens(
    model: nn.Module, graph: fx.Graph, steps: list[Step], size: tuple[int, int], rules: Sequence[Rule]
) -> Stages | None:
    """Stages of a network whose features are tokens, or maps with the channel last, by the first rule that applies."""
    data = data_nodes(model, graph, steps)
    alone = [n == 1 and step.node in data for n, step in zip(crossing(graph, steps, data), steps, strict=True)]
    cuts = next((found for rule in rules if (found := rule(model, steps, alone, size))), None)
    if not cuts:
        return None
    mark_blocks(model, steps, find_blocks(model, steps, alone), cuts)
    local = local_values(steps, data, lambda: run(model, graph, size, images=2))
    steps, alone, cuts = channels_first(graph, steps, alone, cuts)
    ends = {name: place.end for name, place in cuts.items()}
    if max(ends.values()) < len(steps) - 1:
        ends["head"] = len(steps) - 1
    stages: dict[str, nn.Module] = dict(split(model, graph, steps, ends, local))
    infos = {name: _info(name, place) for name, place in cuts.items()}
    if hasattr(model, "unroll"):  # Hiera's tokens lie in the order of its mask units, which is no map
        infos = {name: replace(info, grid=None) for name, info in infos.items()}
    top = list(cuts)[-1]
    if "head" in ends:
        pool = top_pool(model, steps, alone, ends[top], local, infos[top])
        for name, info in infos.items():
            infos[name] = replace(info, pool="cls" if pool.name == "cls" and info.prefix_tokens else "avg")
        infos[top] = replace(infos[top], pool=pool.name, native=pool.known)
        if pool.module is not None:
            stages[top] = PooledStage(stages[top], pool.module)  # type: ignore[arg-type]
        shape = steps[-1].shape
        infos["head"] = StageInfo("head", shape[1] if shape is not None else 0, cuts[top].stride, "vector")
    return stages, infos


def _info(name: str, place: Cut) -> StageInfo:
    layout = place.layout
    return StageInfo(name, layout.channels, place.stride, layout.kind, layout.prefix_tokens, layout.grid)
