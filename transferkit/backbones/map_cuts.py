"""Where networks of feature maps (N, C, H, W) are cut: by stride."""

import math
from collections.abc import Sequence
from typing import Any

from torch import nn

from transferkit.backbones.boundaries import cut_table
from transferkit.backbones.trace import Step

_FEWEST_MAPS = 3


def map_ends(model: nn.Module, steps: Sequence[Step], size: tuple[int, int], crossed: Sequence[int]) -> dict[str, int]:
    """Stage name to the index of its last step; nothing where a network's features are not all maps."""
    levels = [map_level(step.shape, size) for step in steps]
    table = cut_table(model)
    if table is not None:
        return {stage: inside[-1] for stage, module in table.items() if (inside := steps_in(module, steps))}
    ends = _declared(model, steps, levels)
    if len(ends) < _FEWEST_MAPS:
        ends = _automatic(steps, levels, crossed)
    top = max(ends, default=0)
    if any(entry["reduction"] > 2**top for entry in feature_info(model)):
        return {}  # EfficientFormer: its last stage works on tokens, and would be mistaken for the head
    if ends:
        # The top feature is what the classifier pools: after DenseNet's last norm, MobileNet's last convolution.
        alone = [i for i, level in enumerate(levels) if level == top and crossed[i] == 1]
        ends[top] = max([ends[top], *alone])
    return {f"stage{level}": end for level, end in ends.items()}


def map_level(shape: tuple[int, ...] | None, size: tuple[int, int]) -> int | None:
    """Log2 of the stride of a feature map; None unless it is a map with the same stride in both directions."""
    if shape is None or len(shape) != 4 or 0 in shape:
        return None
    down, across = (round(math.log2(before / after)) for before, after in zip(size, shape[2:], strict=True))
    return down if down == across else None


def feature_info(model: nn.Module) -> list[dict[str, Any]]:
    """The feature information of a timm network; empty for others."""
    entries = getattr(model, "feature_info", ())
    return [entry for entry in entries if {"module", "reduction"} <= set(entry)] if isinstance(entries, list) else []


def steps_in(module: str, steps: Sequence[Step]) -> list[int]:
    """The indices of the steps inside a module, by its path."""
    return [i for i, step in enumerate(steps) if step.path == module or step.path.startswith(f"{module}.")]


def block_of(step: Step) -> list[str]:
    """The block that a step belongs to: the first two parts of its path."""
    return step.path.split(".")[:2]


def _declared(model: nn.Module, steps: Sequence[Step], levels: Sequence[int | None]) -> dict[int, int]:
    """Level to step from timm's feature information, as far as the measured stride agrees."""
    ends: dict[int, int] = {}
    for entry in feature_info(model):
        inside = steps_in(entry["module"], steps)
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
            if not at_block_end or block_of(steps[i]) != block_of(steps[i + 1]):
                ends[level] = i
    return ends
