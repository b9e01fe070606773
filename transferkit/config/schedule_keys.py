"""The keys of the group `schedule`, the learning-rate schedules."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from transferkit.config.node import Node
from transferkit.errors import TransferkitError

LONGEST = 1_000_000
"""Of the cycles of `cosine_restarts`, as a multiple of the first."""

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


class Linear(Schedule):
    """name: linear."""

    name: Literal["linear"]
    final_lr: float = Field(0.0, ge=0, le=100)


class OneCycle(Schedule):
    """name: one_cycle."""

    name: Literal["one_cycle"]
    warmup: Part = 0.3
    cycle_momentum: bool = True


class CosineRestarts(Schedule):
    """name: cosine_restarts."""

    name: Literal["cosine_restarts"]
    final_lr: float = Field(0.0, ge=0, le=100)
    cycles: int = Field(4, ge=1, le=10_000)
    growth: int = Field(1, ge=1, le=100)

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.growth > 1 and self.growth ** (self.cycles - 1) > LONGEST:
            raise TransferkitError(
                f"schedule.growth={self.growth} makes the last of schedule.cycles={self.cycles} more than {LONGEST:,} "
                "times as long as the first."
            )
        return self


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


SCHEDULES: dict[str, type[Schedule]] = {
    "constant": Constant,
    "linear": Linear,
    "cosine": Cosine,
    "one_cycle": OneCycle,
    "cosine_restarts": CosineRestarts,
    "step": Step,
    "plateau": Plateau,
}
"""Name of a schedule to its keys."""
