"""The backbone: a network as an ordered sequence of named stages."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from transferkit.errors import TransferkitError
from transferkit.preprocess import Preprocessing
from transferkit.stage import StageInfo, match_stages

logger = logging.getLogger(__name__)

State = Tensor | tuple[Tensor, ...]
"""What crosses a cut: one tensor, or (NASNet) several of which the last is the feature."""


@dataclass(frozen=True)
class BackboneSpec:
    """What builds the network again, without its weights. Plain values."""

    source: str
    name: str
    kwargs: dict[str, Any] = field(default_factory=dict)


def feature(state: State) -> Tensor:
    """The feature in a state: the tensor itself, or the last of a tuple."""
    return state[-1] if isinstance(state, tuple) else state


def pool_features(h: Tensor, pool: str = "avg") -> Tensor:
    """Pool a map (N, C, H, W) over its area to (N, C), by "avg" or "max"; (N, C) is returned as it is."""
    if h.ndim != 4:
        return h
    return h.amax(dim=(2, 3)) if pool == "max" else h.mean(dim=(2, 3))


class Backbone(nn.Module):
    """A network that runs stage by stage, with exactly the original's output.

    Attributes:
        stages: Name to sub-graph, in order; together they own the original's parameters.
        infos: Name to what leaves that stage.
        preprocess: From an image to the input tensor, as the weights define it.
        spec: What builds the network again.
        weights_name: For reports: "IMAGENET1K_V2", a file's name, "random".
    """

    def __init__(
        self,
        stages: Mapping[str, fx.GraphModule],
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
        """The last stage that gives features."""
        return self.feature_stages[-1]

    def forward(self, x: Tensor) -> State:
        """Run all stages on images (N, 3, H, W).

        Returns:
            The original network's output (N, classes), or what leaves the last stage of a truncated backbone.
        """
        return self._run(x, self.stage_names)

    def forward_stages(self, x: Tensor, stages: Iterable[str] | None = None) -> dict[str, State]:
        """What leaves each of the wanted stages, in order; the stages after the last one wanted do not run.

        Args:
            x: Images (N, 3, H, W).
            stages: Names or patterns; all stages if None.
        """
        wanted = list(self.stage_names) if stages is None else match_stages(stages, self.stage_names)
        states: dict[str, State] = {}
        state: State = x
        for name in self.stage_names[: self._after(wanted[-1])] if wanted else ():
            state = self._run(state, (name,))
            if name in wanted:
                states[name] = state
        return states

    def forward_from(self, stage: str, h: State) -> State:
        """Run the stages after `stage` on what left it: `forward_from(s, forward_stages(x)[s]) == forward(x)`."""
        return self._run(h, self.stage_names[self._after(stage) :])

    def truncate(self, stage: str) -> "Backbone":
        """A backbone that ends with `stage` and shares its modules with this one."""
        kept = self.stage_names[: self._after(stage)]
        stages = {name: self.stages[name] for name in kept}
        infos = {name: self.infos[name] for name in kept}
        shorter = Backbone(stages, infos, self.preprocess, self.spec, self.weights_name)  # type: ignore[arg-type]
        shorter.training = self.training
        return shorter

    def original_state_dict(self) -> dict[str, Tensor]:
        """Parameters and buffers under the names that the original network gives them."""
        return {_original_name(name): value for name, value in self.state_dict().items()}

    def load_original_state_dict(self, state: Mapping[str, Tensor], origin: str = "the state dict") -> list[str]:
        """Load parameters and buffers under the original network's names, all or nothing.

        The weights of `head` may be of another class count: they are then left out, and the log says so.

        Args:
            state: Original name to tensor.
            origin: Where they come from, for messages.

        Returns:
            The names left out.

        Raises:
            TransferkitError: If names are missing or unknown, or shapes differ; the message lists them.
        """
        own = self.state_dict()
        differing = [
            name
            for name, value in own.items()
            if (given := state.get(_original_name(name))) is not None and given.shape != value.shape
        ]
        left_out = [name for name in differing if name.startswith("stages.head.")]
        # Batch counters came with torch 0.4.1; older files lack them, and nothing is computed from them.
        optional = ".num_batches_tracked"
        names = {_original_name(name): name for name in own}
        problems = {
            "missing": [name for name in names if name not in state and not name.endswith(optional)],
            "unknown": [name for name in state if name not in names],
            "of another shape": [
                f"{_original_name(name)} ({list(state[_original_name(name)].shape)}, wanted {list(own[name].shape)})"
                for name in differing
                if name not in left_out
            ],
        }
        if any(problems.values()):
            raise TransferkitError(_mismatch(origin, f"{self.spec.name} ({self.spec.source})", problems))
        fitting = {names[key]: value for key, value in state.items() if names[key] not in left_out}
        self.load_state_dict(fitting, strict=False)
        if left_out:
            originals = [_original_name(name) for name in left_out]
            logger.warning(
                "%s: left out the head's weights, they are for another number of classes: %s",
                origin,
                ", ".join(originals),
            )
        return [_original_name(name) for name in left_out]

    def _after(self, stage: str) -> int:
        """The position after a stage."""
        return self.stage_names.index(match_stages([stage], self.stage_names, "stage")[-1]) + 1

    def _run(self, state: State, names: Iterable[str]) -> State:
        for name in names:
            stage = self.stages[name]
            state = stage(*state) if isinstance(state, tuple) else stage(state)
        return state


def _original_name(name: str) -> str:
    """The original network's name of a parameter: without "stages.<stage>."."""
    return name.split(".", 2)[2]


def _mismatch(origin: str, network: str, problems: Mapping[str, list[str]]) -> str:
    lines = [f"{origin}: these weights are not for {network}."]
    for kind, keys in problems.items():
        if keys:
            more = f" and {len(keys) - 12} more" if len(keys) > 12 else ""
            lines.append(f"{len(keys)} {kind}: {', '.join(keys[:12])}{more}.")
    return " ".join(lines)
