"""A network as a sequence of named stages: which there are, and how they run."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from transferkit.backbones.last_blocks import check_last, count_blocks, count_in_name, describe_last, part_names
from transferkit.backbones.stages import StageInfo, match_stages

State = Tensor | tuple[Tensor, ...]
"""The activations at a cut: one tensor, or (NASNet) several of which the last is the feature."""


@dataclass(frozen=True)
class BackboneSpec:
    """The arguments that build the network again, without its weights. Plain values."""

    source: str
    name: str
    kwargs: dict[str, Any] = field(default_factory=dict)


def feature(state: State) -> Tensor:
    """The feature in a state: the tensor itself, or the last of a tuple."""
    return state[-1] if isinstance(state, tuple) else state


class StageSequence(nn.Module):
    """Named stages that run one after the other, with exactly the original network's output.

    Attributes:
        stages: Name to sub-graph, in order; together they own the original's parameters.
        infos: Name to a description of the stage's output.
        spec: The arguments that build the network again.
    """

    def __init__(self, stages: Mapping[str, nn.Module], infos: Mapping[str, StageInfo], spec: BackboneSpec) -> None:
        super().__init__()
        self.stages = nn.ModuleDict(stages)
        self.infos = dict(infos)
        self.spec = spec

    @property
    def stage_names(self) -> tuple[str, ...]:
        """All stages, in order."""
        return tuple(self.stages)

    @property
    def feature_stages(self) -> tuple[str, ...]:
        """All stages but the original's classifier."""
        return tuple(name for name in self.stages if name != "head")

    @property
    def top(self) -> str:
        """The last stage before the head."""
        return self.feature_stages[-1]

    def match(self, patterns: Iterable[str], where: str = "stages", head: bool = True) -> list[str]:
        """The stages that match any of the patterns, in order, and after them the features "lastN" among these.

        Args:
            patterns: Names, or shell patterns of stages ("stage[45]", "fc*").
            where: The configuration key named in an error.
            head: Whether the original's classifier counts.

        Raises:
            TransferkitError: If a plain name is no stage, or there are not so many blocks.
        """
        others, last = part_names(patterns)
        stages = match_stages(others, self.stage_names if head else self.feature_stages, where)
        if last:
            check_last(last, where, count_blocks(self.stages.values()), self.spec.name, stages)
        return stages + last

    def info(self, name: str) -> StageInfo:
        """The description of the output of a stage, or of the feature "lastN"."""
        return describe_last(name, self.infos[self.top]) if count_in_name(name) else self.infos[name]

    def stage_of(self, name: str) -> str:
        """The stage that a feature leaves: itself, or the top one for "lastN"."""
        return self.top if count_in_name(name) else match_stages([name], self.stage_names, "stage")[-1]

    def forward(self, x: Tensor) -> State:
        """Run all stages on images (N, 3, H, W).

        Returns:
            The original network's output (N, classes), or the output of the last stage of a truncated backbone.
        """
        return self._run(x, self.stage_names)

    def states(self, x: Tensor, names: Sequence[str]) -> dict[str, State]:
        """Like `forward_stages`, for names in order only: pure tensor operations, which can be compiled.

        For "lastN" the backbone must be that of `truncate`.
        """
        states: dict[str, State] = {}
        state: State = x
        last = [self.top if count_in_name(name) else name for name in names[-1:]]
        for name in self.stage_names[: self.stage_names.index(last[0]) + 1] if last else ():
            state = self._run(state, (name,))
            if name in names:
                states[name] = state
        for name in names:
            if count := count_in_name(name):
                states[name] = torch.cat(state[-count:], dim=2) if isinstance(state, tuple) else state
        return states

    def forward_from(self, stage: str, h: State) -> State:
        """Run the stages after `stage` on its output: `forward_from(s, forward_stages(x)[s]) == forward(x)`."""
        return self._run(h, self.stage_names[self._after(stage) :])

    def _after(self, stage: str) -> int:
        """The position after a stage."""
        return self.stage_names.index(self.stage_of(stage)) + 1

    def _run(self, state: State, names: Iterable[str]) -> State:
        for name in names:
            stage = self.stages[name]
            state = stage(*state) if isinstance(state, tuple) else stage(state)
        return state
