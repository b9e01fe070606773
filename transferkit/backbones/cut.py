"""Cutting a network into stages: the positions of the cuts, and the graph of each stage.

A cut may be after any operation; the tensors that cross it are the output of a stage, the last of them the feature. The
positions come from a table (`boundaries.py`), else from timm's feature information, else from the automatic rule.
Strides are always measured.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import fx, nn

from transferkit.backbones.boundaries import cut_table
from transferkit.backbones.stages import StageInfo
from transferkit.backbones.subgraphs import crossing, split
from transferkit.backbones.trace import Step, trace
from transferkit.errors import TransferkitError

_SMALLEST_MEASURE = 64  # below this a map of stride 32 has one pixel and looks like its own global pool
_FEWEST_MAPS = 3  # a ViT's patches or a Swin's first and last map do not make a sequence of stages


def cut(
    model: nn.Module, input_size: tuple[int, int], name: str
) -> tuple[dict[str, fx.GraphModule], dict[str, StageInfo]]:
    """Cut a network into stages that share its modules.

    Args:
        model: The original network; it is put in eval mode.
        input_size: Height and width that the network is made for, in pixels; strides are measured with it.
        name: For messages.

    Returns:
        Stage name to graph, in order, and to a description of its output.

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
    ends = _cuts(model, steps, levels, crossing(graph, steps))
    if sum(stage.startswith("stage") for stage in ends) < _FEWEST_MAPS:
        raise _uncuttable(name, "it has no sequence of feature maps (N, C, H, W) that halve in size")
    ends = dict(sorted(ends.items(), key=lambda item: item[1]))
    if max(ends.values()) < len(steps) - 1:
        ends["head"] = len(steps) - 1
    return split(model, graph, steps, ends), _infos(steps, levels, ends)


def _uncuttable(name: str, why: str) -> TransferkitError:
    return TransferkitError(
        f"backbone.name: {name} cannot be cut into stages: {why}. Convolutional networks can: backbone=resnet50, or "
        "backbone=timm with backbone.name=convnext_tiny, for example."
    )


def _level(shape: tuple[int, ...] | None, size: tuple[int, int]) -> int | None:
    """Log2 of the stride of a feature map; None unless it is a map with the same stride in both directions."""
    if shape is None or len(shape) != 4 or 0 in shape:
        return None
    down, across = (round(math.log2(before / after)) for before, after in zip(size, shape[2:], strict=True))
    return down if down == across else None


def _cuts(
    model: nn.Module, steps: Sequence[Step], levels: Sequence[int | None], crossed: Sequence[int]
) -> dict[str, int]:
    """Stage name to the index of its last step."""
    table = cut_table(model)
    if table is not None:
        return {stage: inside[-1] for stage, module in table.items() if (inside := _steps_in(module, steps))}
    ends = _declared(model, steps, levels)
    if len(ends) < _FEWEST_MAPS:
        ends = _automatic(steps, levels, crossed)
    top = max(ends, default=0)
    if any(entry["reduction"] > 2**top for entry in _feature_info(model)):
        return {}  # EfficientFormer: its last stage works on tokens, and would be mistaken for the head
    if ends:
        # The top feature is what the classifier pools: after DenseNet's last norm, MobileNet's last convolution.
        alone = [i for i, level in enumerate(levels) if level == top and crossed[i] == 1]
        ends[top] = max([ends[top], *alone])
    return {f"stage{level}": end for level, end in ends.items()}


def _feature_info(model: nn.Module) -> list[dict[str, Any]]:
    """The feature information of a timm network; empty for others."""
    entries = getattr(model, "feature_info", ())
    return [entry for entry in entries if {"module", "reduction"} <= set(entry)] if isinstance(entries, list) else []


def _declared(model: nn.Module, steps: Sequence[Step], levels: Sequence[int | None]) -> dict[int, int]:
    """Level to step from timm's feature information, as far as the measured stride agrees."""
    ends: dict[int, int] = {}
    for entry in _feature_info(model):
        inside = _steps_in(entry["module"], steps)
        level = levels[inside[-1]] if inside else None
        if level is not None and 1 <= level <= 5 and 2**level == entry["reduction"]:
            ends[level] = inside[-1]
    return ends


def _automatic(steps: Sequence[Step], levels: Sequence[int | None], crossed: Sequence[int]) -> dict[int, int]:
    """Level to the last step at that stride where one tensor crosses, at the end of a block if there is such a step."""
    ends: dict[int, int] = {}
    for at_block_end in (False, True):
        for i, level in enumerate(levels[:-1]):
            if level is None or not 1 <= level <= 5 or crossed[i] != 1:
                continue
            if not at_block_end or _block(steps[i]) != _block(steps[i + 1]):
                ends[level] = i
    return ends


def _block(step: Step) -> list[str]:
    return step.path.split(".")[:2]


def _steps_in(module: str, steps: Sequence[Step]) -> list[int]:
    return [i for i, step in enumerate(steps) if step.path == module or step.path.startswith(f"{module}.")]


def _infos(steps: Sequence[Step], levels: Sequence[int | None], ends: Mapping[str, int]) -> dict[str, StageInfo]:
    infos: dict[str, StageInfo] = {}
    stride = 1
    for name, end in ends.items():
        shape, level = steps[end].shape, levels[end]
        spatial = name.startswith("stage")
        stride = 2 ** (level or 0) if spatial else stride
        infos[name] = StageInfo(name, shape[1] if shape is not None else 0, stride, spatial)
    return infos
