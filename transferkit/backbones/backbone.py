"""The backbone: a network as an ordered sequence of named stages."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from transferkit.backbones.last_blocks import (
    check_last,
    count_blocks,
    count_in_name,
    describe_last,
    give_out_blocks,
    part_names,
)
from transferkit.backbones.native_pool import PooledStage
from transferkit.backbones.original_weights import load_original, original_name
from transferkit.backbones.pooling import check_pool, pool_features
from transferkit.backbones.stages import StageInfo, match_stages
from transferkit.data.preprocess import Preprocessing

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


class Backbone(nn.Module):
    """A network that runs stage by stage, with exactly the original's output.

    Attributes:
        stages: Name to sub-graph, in order; together they own the original's parameters.
        infos: Name to a description of the stage's output.
        preprocess: From an image to the input tensor, as the weights define it.
        spec: The arguments that build the network again.
        weights_name: For reports: "IMAGENET1K_V2", a file's name, "random".
        depths: Original name of a parameter to the number of layers above it (0 for the classifier's), as timm counts
            them for layer-wise rates; empty for networks that do not say.
        changed_stages: Stages whose weights are no longer those that were loaded; shared with truncated backbones.
        carried: Blocks of a transformer whose outputs the top stage gives out too, see `last_blocks`; 0 for most.
        classes: Names of the outputs of `head` where they are known to be ImageNet-1k's classes; else empty.
    """

    def __init__(
        self,
        stages: Mapping[str, nn.Module],
        infos: Mapping[str, StageInfo],
        preprocess: Preprocessing,
        spec: BackboneSpec,
        weights_name: str = "random",
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleDict(stages)
        self.infos = dict(infos)
        self.preprocess = preprocess
        self.spec = spec
        self.weights_name = weights_name
        self.depths: Mapping[str, int] = {}
        self.changed_stages: set[str] = set()
        self.carried = 0
        self.classes: tuple[str, ...] = ()

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

    def forward_stages(self, x: Tensor, stages: Iterable[str] | None = None) -> dict[str, State]:
        """Return the output of each requested stage, in order; the stages after the last one do not run.

        Args:
            x: Images (N, 3, H, W).
            stages: Names or patterns, also "lastN"; all stages if None.
        """
        wanted = list(self.stage_names) if stages is None else self.match(stages)
        carries = not wanted or count_in_name(wanted[-1]) <= max(self.carried, 1)
        return (self if carries else self.truncate(wanted[-1])).states(x, wanted)

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

    def pooled(self, stage: str, h: Tensor, pool: str = "auto") -> Tensor:
        """The feature `h` of a stage as one vector an image.

        Args:
            stage: Its name.
            h: What left it (of a state, its `feature`).
            pool: One of `pooling.POOLS`.

        Raises:
            TransferkitError: If this stage has no such pooling.
        """
        info, module = self.info(stage), self.stages[self.stage_of(stage)]
        if pool == "auto" or (pool == "native" and info.native):
            pool = info.pool
        if pool == "native" and h.ndim > 2 and isinstance(module, PooledStage) and stage in self.stages:
            vector: Tensor = module.native_pool(h)
            return vector
        return pool_features(h, pool, info)

    def width(self, stage: str, pool: str = "auto") -> int:
        """D, the length of the vectors (N, D) that `pooled` gives."""
        info = self.info(stage)
        if info.grid is None:
            return info.channels
        module = self.stages[self.stage_of(stage)]
        example = next(module.parameters(), torch.zeros(())).new_zeros((1, *info.shape))
        with torch.no_grad():
            return self.pooled(stage, example, pool).shape[1]

    def pool_name(self, pool: str) -> str:
        """`pool`, or what "auto" stands for where that is the same at all stages; for reports and cache keys.

        Raises:
            TransferkitError: If it is none of `pooling.POOLS`.
        """
        check_pool(pool)
        automatic = {info.pool for info in self.infos.values() if info.kind != "vector"}
        return automatic.pop() if pool == "auto" and len(automatic) == 1 else pool

    def truncate(self, stage: str) -> "Backbone":
        """A backbone that ends with `stage` and shares its modules with this one.

        For "lastN" it ends with the top stage, which then gives out the outputs of the last N blocks.
        """
        kept, blocks = self.stage_names[: self._after(stage)], count_in_name(stage)
        stages = {name: self.stages[name] for name in kept}
        if blocks > max(self.carried, 1):
            self.match([stage], "stage")  # whether there are so many
            stages = give_out_blocks(stages, blocks)
        infos = {name: self.infos[name] for name in kept}
        shorter = Backbone(stages, infos, self.preprocess, self.spec, self.weights_name)
        shorter.training, shorter.depths = self.training, self.depths
        shorter.changed_stages = self.changed_stages
        shorter.carried = max(self.carried, blocks)
        return shorter

    def as_loaded(self, stage: str) -> bool:
        """Whether the weights up to `stage` are those that were loaded, so that other runs can use its features."""
        return self.changed_stages.isdisjoint(self.stage_names[: self._after(stage)])

    def mark_trained(self) -> None:
        """Count the stages that have trainable parameters as changed; called when a fit has ended."""
        for name, stage in self.stages.items():
            if any(parameter.requires_grad for parameter in stage.parameters()):
                self.changed_stages.add(name)

    def original_state_dict(self, keep_vars: bool = False) -> dict[str, Tensor]:
        """Parameters and buffers under the names that the original network gives them."""
        return {original_name(name): value for name, value in self.state_dict(keep_vars=keep_vars).items()}

    def load_original_state_dict(self, state: Mapping[str, Tensor], origin: str = "the state dict") -> list[str]:
        """Load parameters and buffers under the original network's names.

        Weights of `head` for another number of classes are skipped, with a line in the log, and the layer keeps its
        initial values.

        Args:
            state: Original name to tensor.
            origin: Where they come from, for messages.

        Returns:
            The names skipped.

        Raises:
            TransferkitError: If names are missing or unknown or shapes differ; it lists them, and nothing is loaded.
        """
        return load_original(self, state, origin, f"{self.spec.name} ({self.spec.source})")

    def _after(self, stage: str) -> int:
        """The position after a stage."""
        return self.stage_names.index(self.stage_of(stage)) + 1

    def _run(self, state: State, names: Iterable[str]) -> State:
        for name in names:
            stage = self.stages[name]
            state = stage(*state) if isinstance(state, tuple) else stage(state)
        return state
