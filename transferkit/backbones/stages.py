"""Names of stages: the vocabulary that backbones, strategies, probes and reports share. No torch."""

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from transferkit.choices import STAGES
from transferkit.errors import TransferkitError, unknown_name

CANONICAL = STAGES
"""Every stage name, in order: `choices.STAGES`."""


@dataclass(frozen=True)
class StageInfo:
    """The output of a stage.

    Attributes:
        name: One of `CANONICAL`, or "lastN", see `transferkit.backbones.last_blocks`.
        channels: Channels of the feature (for `head`: the number of outputs).
        stride: Input pixels per feature pixel; for `fc6`, `fc7` and `head` that of the last feature map.
        kind: "map" (N, C, H, W), "tokens" (N, L, C) or "vector" (N, C). `fc6`, `fc7` and `head` give vectors; timm's
            VGGs give (N, C, 1, 1) for the first two.
        prefix_tokens: Class and register tokens that stand before the patch tokens.
        grid: Rows and columns of the patch tokens, or of the map, at the network's own input size; None for vectors.
        pool: The pooling that "auto" stands for, see `transferkit.backbones.pooling`.
        native: Whether the network's own pooling of this feature can be had.
        blocks: The blocks of a transformer whose outputs stand side by side in the channels: n for "lastN", else 1.
    """

    name: str
    channels: int
    stride: int
    kind: str = "map"
    prefix_tokens: int = 0
    grid: tuple[int, int] | None = None
    pool: str = "avg"
    native: bool = False
    blocks: int = 1

    @property
    def spatial(self) -> bool:
        """Whether the feature is a map (N, C, H, W)."""
        return self.kind == "map"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one image's feature, at the network's own input size."""
        rows, columns = self.grid or (1, 1)
        shapes = {
            "map": (self.channels, rows, columns),
            "tokens": (self.prefix_tokens + rows * columns, self.channels),
        }
        return shapes.get(self.kind, (self.channels,))


def match_stages(patterns: Iterable[str], names: Sequence[str], where: str = "stages") -> list[str]:
    """The stages that match any of the patterns, in the order of `names`.

    Args:
        patterns: Stage names or shell patterns ("stage[45]", "fc*").
        names: The stages there are.
        where: The configuration key named in an error.

    Raises:
        TransferkitError: If a plain name is no stage. A pattern with a wildcard may match none (`fc*` in a ResNet).
    """
    matched: set[str] = set()
    for pattern in patterns:
        hits = fnmatch.filter(names, pattern)
        if not hits and not any(character in pattern for character in "*?["):
            raise TransferkitError(unknown_name(where, pattern, names, "stage"))
        matched.update(hits)
    return [name for name in names if name in matched]
