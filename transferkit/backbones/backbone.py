"""The backbone: a network as an ordered sequence of named stages, with pooled features."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from transferkit.backbones.last_blocks import count_in_name, give_out_blocks
from transferkit.backbones.native_pool import PooledStage
from transferkit.backbones.original_weights import load_original, original_name
from transferkit.backbones.pooling import check_pool, pool_features
from transferkit.backbones.stage_sequence import BackboneSpec, StageSequence, State
from transferkit.backbones.stages import StageInfo
from transferkit.data.preprocess import Preprocessing


class Backbone(StageSequence):
    """A network that runs stage by stage, with its preprocessing, pooled features and weights.

    It has the attributes of `StageSequence`, too: `stages`, `infos` and `spec`.

    Attributes:
        preprocess: From an image to the input tensor, as the weights define it.
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
        super().__init__(stages, infos, spec)
        self.preprocess = preprocess
        self.weights_name = weights_name
        self.depths: Mapping[str, int] = {}
        self.changed_stages: set[str] = set()
        self.carried = 0
        self.classes: tuple[str, ...] = ()

    def forward_stages(self, x: Tensor, stages: Iterable[str] | None = None) -> dict[str, State]:
        """Return the output of each requested stage, in order; the stages after the last one do not run.

        Args:
            x: Images (N, 3, H, W).
            stages: Names or patterns, also "lastN"; all stages if None.
        """
        wanted = list(self.stage_names) if stages is None else self.match(stages)
        carries = not wanted or count_in_name(wanted[-1]) <= max(self.carried, 1)
        return (self if carries else self.truncate(wanted[-1])).states(x, wanted)

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
