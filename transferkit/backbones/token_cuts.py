"""Cuts of networks of tokens, or of maps with the channel last: by stride, or their blocks in four groups."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import fx, nn

from transferkit.backbones.layout import Layout, guess, guess_flat, layout, layout_at
from transferkit.backbones.map_cuts import block_of, feature_info, steps_in
from transferkit.backbones.trace import Step

_GROUPS = 4
_FEWEST = 3


@dataclass(frozen=True)
class Cut:
    """The end of a stage: its last step, and the layout of its output."""

    end: int
    layout: Layout
    stride: int


Rule = Callable[[nn.Module, Sequence[Step], Sequence[bool], tuple[int, int]], dict[str, Cut]]
"""(network, its operations, whether only the value of each is used later, input size) to stage name and end; empty
if the rule does not apply."""


def is_flat(model: nn.Module) -> bool:
    """Whether all declared features of a network have the same stride."""
    declared = {entry["reduction"] for entry in feature_info(model)}
    return len(declared) == 1 and len(feature_info(model)) > 1


def by_stride(model: nn.Module, steps: Sequence[Step], alone: Sequence[bool], size: tuple[int, int]) -> dict[str, Cut]:
    """Stage name to its end, from timm's feature information, else where the stride changes; empty for too few.

    A network of strides above 32 (LeViT) has its last three stages called `stage3` to `stage5`.
    """
    found: dict[int, Cut] = {}
    for entry in feature_info(model):
        inside = steps_in(entry["module"], steps)
        there = layout_at(steps[inside[-1]].shape, size, entry["reduction"]) if inside else None
        if there is not None:
            found[entry["reduction"]] = Cut(inside[-1], there, entry["reduction"])
    if len(found) < _FEWEST:  # nothing is declared, or (MViTv2) modules that are not there
        found = _automatic(steps, alone, size)
    if len(found) < _FEWEST:
        return {}
    cuts = [found[stride] for stride in sorted(found)]
    cuts[-1] = replace(cuts[-1], end=_before_pooling(steps, alone, cuts[-1].end, size))
    cuts[-1] = replace(cuts[-1], layout=layout_at(steps[cuts[-1].end].shape, size, cuts[-1].stride) or cuts[-1].layout)
    shift = max(0, max(found).bit_length() - 1 - 5)
    return {f"stage{cut.stride.bit_length() - 1 - shift}": cut for cut in cuts}


def _automatic(steps: Sequence[Step], alone: Sequence[bool], size: tuple[int, int]) -> dict[int, Cut]:
    """Stride to the last step there where one tensor crosses, at the end of a block if there is such a step."""
    found: dict[int, Cut] = {}
    for at_block_end in (False, True):
        for i, step in enumerate(steps[:-1]):
            there = guess(step.shape, size) if alone[i] else None
            if there is not None and (not at_block_end or block_of(step) != block_of(steps[i + 1])):
                found[there[1]] = Cut(i, *there)
    return {stride: cut for stride, cut in found.items() if stride <= 32}


def blocks_in_groups(
    model: nn.Module, steps: Sequence[Step], alone: Sequence[bool], size: tuple[int, int]
) -> dict[str, Cut]:
    """The patch embedding, and four groups of blocks of equal depth; the final norm belongs to the last."""
    blocks = find_blocks(model, steps, alone)
    groups = min(_GROUPS, len(blocks))
    if len(blocks) < _FEWEST:
        return {}
    ends = [blocks[_rounded(len(blocks) * (k + 1), groups) - 1] for k in range(groups)]
    ends[-1] = _before_pooling(steps, alone, ends[-1], size)
    grid = there.grid if (there := _flat_layout(model, steps[ends[0]].shape, size)) else None
    before = [(i, _flat_layout(model, steps[i].shape, size)) for i in range(blocks[0]) if alone[i]]
    first = [i for i, found in before if found is not None and found.grid == grid][-1:]
    cuts: dict[str, Cut] = {}
    names = [f"stage{number}" for number in range(5 - groups + 1 - len(first), 6)]
    for name, end in zip(names, first + ends, strict=True):
        there = _flat_layout(model, steps[end].shape, size)
        if there is None:
            return {}
        cuts[name] = Cut(end, there, max(1, round(size[0] / there.grid[0])))
    return cuts


def _rounded(numerator: int, denominator: int) -> int:
    """Quarters, rounded half up: 10 blocks end after 3, 5, 8, 10."""
    return (2 * numerator + denominator) // (2 * denominator)


def find_blocks(model: nn.Module, steps: Sequence[Step], alone: Sequence[bool]) -> list[int]:
    """The steps that are a network's blocks: the members of the list or sequence with the most parameters."""
    members: dict[str, list[int]] = {}
    for i, step in enumerate(steps):
        if step.node.op != "call_module":
            continue
        # Of several values (TNT's pixels and patches) the last is the feature.
        parts = [j for j in range(i + 1, min(i + 4, len(steps))) if steps[j].node.args[:1] == (step.node,)]
        end = i if step.shape is not None else max(parts, default=i)
        if (end != i or alone[i]) and len(steps[end].shape or ()) > 2:
            members.setdefault(str(step.node.target).rpartition(".")[0], []).append(end)
    size = {
        owner: sum(parameter.numel() for parameter in model.get_submodule(owner).parameters())
        for owner in members
        if owner and isinstance(model.get_submodule(owner), nn.ModuleList | nn.Sequential)
    }
    return members[max(size, key=size.__getitem__)] if size else []


def _before_pooling(steps: Sequence[Step], alone: Sequence[bool], end: int, size: tuple[int, int]) -> int:
    """The last step after `end` whose value alone crosses and has the same form, with more tokens at most."""
    shape = steps[end].shape or ()
    for i in range(end + 1, len(steps) - 1):
        other = steps[i].shape
        if other is None or not alone[i] or len(other) != len(shape):
            continue
        same = other[1:] == shape[1:]
        if same or (len(other) == 3 and other[2] == shape[2] and 0 <= other[1] - shape[1] <= 2):
            end, shape = i, other
    return end


def _flat_layout(model: nn.Module, shape: tuple[int, ...] | None, size: tuple[int, int]) -> Layout | None:
    """The layout of a feature in a network of one stride, by the grid of its patch embedding if that is known."""
    grid = getattr(getattr(model, "patch_embed", None), "grid_size", None)
    known = layout(shape, (int(grid[0]), int(grid[1]))) if isinstance(grid, tuple | list) and len(grid) == 2 else None
    return known or guess_flat(shape, size)


def channels_first(
    graph: fx.Graph, steps: Sequence[Step], alone: Sequence[bool], cuts: dict[str, Cut]
) -> tuple[list[Step], list[bool], dict[str, Cut]]:
    """Let maps cross the cuts as (N, C, H, W), whatever the network's own order: two views and no copy.

    Returns:
        The steps, whether each one's value is alone, and the cuts, with the added permutations.
    """
    steps, alone, moved = list(steps), list(alone), {}
    added = 0
    for name, cut in cuts.items():
        end = cut.end + added
        if cut.layout.channels_last:
            step = steps[end]
            users = list(step.node.users)
            with graph.inserting_after(step.node):
                first = graph.call_method("permute", (step.node, 0, 3, 1, 2))
            with graph.inserting_after(first):
                last = graph.call_method("permute", (first, 0, 2, 3, 1))
            for user in users:
                user.replace_input_with(step.node, last)
            assert step.shape is not None
            rows, columns, channels = step.shape[1:]
            views = [Step(first, step.path, (1, channels, rows, columns)), Step(last, step.path, step.shape)]
            steps[end + 1 : end + 1] = views
            alone[end + 1 : end + 1] = [True, True]
            end, added = end + 1, added + 2
        moved[name] = replace(cut, end=end, layout=replace(cut.layout, channels_last=False))
    return steps, alone, moved
