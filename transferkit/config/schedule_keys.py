"""The keys of the group `schedule`, the learning-rate schedules."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from transferkit.config.node import Node
from transferkit.errors import TransferkitError

Part = Annotated[float, Field(ge=0, lt=1)]


class Schedule(Node):
    """Keys of every schedule."""

    warmup: Part = 0.0


class Constant(Schedule):
    """name: constant."""

    name: Literal["constant"]


class Cosine(Schedule):
    """name: cosine."""

    name: Literal["cosine"]
    final_lr: float = Field(0.0, ge=0, le=100)


class OneCycle(Schedule):
    """name: one_cycle."""

    name: Literal["one_cycle"]
    warmup: Part = 0.3


class CosineRestarts(Schedule):
    """name: cosine_restarts."""

    name: Literal["cosine_restarts"]
    final_lr: float = Field(0.0, ge=0, le=100)
    cycles: int = Field(4, ge=1, le=10_000)


class Step(Schedule):
    """name: step."""

    name: Literal["step"]
    milestones: list[Annotated[float, Field(ge=0, le=1)]] = Field(default=[0.5, 0.75], max_length=1000)
    gamma: float = Field(0.1, gt=0, le=1)


class Plateau(Schedule):
    """name: plateau."""

    name: Literal["plateau"]
    factor: float = Field(0.1, gt=0, lt=1)
    patience: int = Field(3, ge=0, le=100_000)

    @model_validator(mode="after")
    def _goes_by_epochs(self) -> Self:
        if self.warmup:
            raise TransferkitError("schedule.warmup must be 0 for plateau, which changes the rate after epochs.")
        return self


SCHEDULES: dict[str, type[Schedule]] = {
    "constant": Constant,
    "cosine": Cosine,
    "one_cycle": OneCycle,
    "cosine_restarts": CosineRestarts,
    "step": Step,
    "plateau": Plateau,
}
"""Name of a schedule to its keys."""
