"""How a network is trained: what decides the resulting weights, beside the data and the architecture."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from transferkit.errors import TransferkitError
from transferkit.settings import is_whole


@dataclass(frozen=True)
class Recipe:
    """The settings of a training.

    Attributes:
        epochs: Passes over train.
        optimizer: `create_optimizer`'s settings.
        schedule: `create_schedule`'s settings.
        augment: `transforms` as `create_augment` takes them.
        batch_size: Images a step.
        label_smoothing: Part of the target that is spread over all classes (Szegedy et al. 2016, section 7).
        seed: Of the initial weights, the order of the images, augmentation and dropout.
        device: Lightning's accelerator: "auto", "cpu", "cuda", "mps".
        num_workers: Processes that load images; does not change the result.
        source: What else must be the same for a resumed run: data set and architecture, plain values.
    """

    epochs: int
    optimizer: Mapping[str, Any]
    schedule: Mapping[str, Any]
    augment: Mapping[str, Any]
    batch_size: int = 64
    label_smoothing: float = 0.0
    seed: int = 0
    device: str = "auto"
    num_workers: int = 0
    source: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for key in ("epochs", "batch_size"):
            value = getattr(self, key)
            if not is_whole(value) or value < 1:
                where = "trainer" if key == "batch_size" else "task"
                raise TransferkitError(f"{where}.{key}={value} must be a positive whole number.")
        if not 0 <= self.label_smoothing < 1:
            raise TransferkitError(f"task.label_smoothing={self.label_smoothing} must be at least 0 and below 1.")

    def to_json(self) -> str:
        """All that decides the weights, to compare with."""
        values = dataclasses.asdict(self)
        return json.dumps({k: v for k, v in values.items() if k not in ("device", "num_workers")}, sort_keys=True)

    def differences(self, stored: str) -> list[str]:
        """What another recipe's `to_json` says otherwise, for people."""
        theirs, ours = _flat(json.loads(stored)), _flat(json.loads(self.to_json()))
        return [
            f"{key} {theirs.get(key)} there and {ours.get(key)} here"
            for key in sorted(theirs.keys() | ours.keys())
            if theirs.get(key) != ours.get(key)
        ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
