"""The input of every strategy: data, network and settings."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transferkit.backbones.backbone import Backbone
from transferkit.data.imagedata import ImageData
from transferkit.features.from_settings import Extract
from transferkit.strategies.fitted import Fitted
from transferkit.timing import StepTimer
from transferkit.training.plan import Plan, plan_of
from transferkit.training.run_logger import RunLogger

UNAUGMENTED: Mapping[str, Any] = {"augment": {"name": "none", "transforms": {}}}
"""The group for probes, which are exact on one view of each image; augmentation is for training by gradient."""


@dataclass(frozen=True)
class Context:
    """The data, the network and the means to fit it.

    Attributes:
        backbone: With the weights to start from. Only finetuning changes them.
        data: The splits. No strategy uses test.
        settings: The resolved configuration; `settings["strategy"]` is the strategy's own part.
        extract: Computes pooled features of frozen stages, (N, D) per stage.
        timer: Gets the steps `extract` and `fit`.
        run_dir: Gets the checkpoints for resuming (`checkpoints/`).
        plan: The phases of a finetuning strategy; None for the others.
        logger: Gets the figures of every epoch, and the result; None for none.
        fit: Fits any strategy; `strategies.registry` sets it, for strategies that fit others.
    """

    backbone: Backbone
    data: ImageData
    settings: Mapping[str, Any]
    extract: Extract
    timer: StepTimer
    run_dir: Path
    plan: Plan | None = None
    logger: RunLogger | None = None
    fit: "Callable[[Context], Fitted] | None" = None

    @property
    def strategy(self) -> Mapping[str, Any]:
        """The strategy's part of the configuration."""
        strategy: Mapping[str, Any] = self.settings["strategy"]
        return strategy

    @property
    def seed(self) -> int:
        """The seed of every random choice."""
        return int(self.settings["seed"])

    def with_strategy(self, strategy: Mapping[str, Any], run_dir: Path | None = None, **groups: Any) -> "Context":
        """The same for another strategy.

        Args:
            strategy: The content of its YAML.
            run_dir: Gets its checkpoints; by default the same folder.
            groups: Further groups of the settings to replace, e.g. `augment`.
        """
        settings = {**self.settings, **groups, "strategy": strategy}
        return replace(self, settings=settings, plan=find_plan(settings), run_dir=run_dir or self.run_dir)


def find_plan(settings: Mapping[str, Any]) -> Plan | None:
    """Return the plan that the settings of a finetuning strategy describe; None for a strategy without phases.

    Raises:
        TransferkitError: The plan cannot be used.
    """
    return plan_of(settings) if "phases" in settings["strategy"] else None
