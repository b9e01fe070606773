"""What every strategy is given."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transferkit.backbones.backbone import Backbone
from transferkit.data.imagedata import ImageData
from transferkit.features.from_settings import Extract
from transferkit.strategies.fitted import Fitted
from transferkit.timing import StepTimer


@dataclass(frozen=True)
class Context:
    """The data, the network and the means to fit it.

    Attributes:
        backbone: With the weights to start from. Only finetuning changes them.
        data: The splits. No strategy looks at test.
        settings: The resolved configuration; `settings["strategy"]` is the strategy's own part.
        extract: Computes pooled features of frozen stages, (N, D) a stage.
        timer: Gets the steps `extract` and `fit`.
        run_dir: Where what has to be resumed is kept (`checkpoints/`).
        fit: Fits any strategy; `strategies.registry` sets it, for strategies that fit others.
    """

    backbone: Backbone
    data: ImageData
    settings: Mapping[str, Any]
    extract: Extract
    timer: StepTimer
    run_dir: Path
    fit: "Callable[[Context], Fitted] | None" = None

    @property
    def strategy(self) -> Mapping[str, Any]:
        """The strategy's part of the configuration."""
        strategy: Mapping[str, Any] = self.settings["strategy"]
        return strategy

    @property
    def seed(self) -> int:
        """Of every random choice."""
        return int(self.settings["seed"])
