"""The keys of the group `protocol`: test protocols by name, with what each of them reads."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from transferkit.choices import PROTOCOLS
from transferkit.config.node import Node
from transferkit.errors import TransferkitError

Scales = Annotated[
    Literal["one", "three"] | Annotated[list[Annotated[int, Field(ge=1, le=4096)]], Field(min_length=1, max_length=16)],
    Field(description="one, three, or a list of 1 to 16 sides in pixels such as [224, 256, 288], of at most 4096 each"),
]
Average = Literal["scores", "probabilities"]
Grid = Annotated[int, Field(ge=1, le=32)]


class Center(Node):
    """center: one view."""


class TenCrop(Node):
    """ten_crop: corners and centre, each with its mirror image."""

    scales: Scales = "one"


class MultiCrop(Node):
    """multi_crop: a grid of crops."""

    scales: Scales = "three"
    grid: Grid = 5
    flips: bool = True


class Dense(Node):
    """dense: the whole image at one scale."""

    scales: Scales = "one"
    average: Average = "scores"
    flips: bool = True


class MultiScale(Node):
    """multi_scale: the whole image at several scales."""

    scales: Scales = "three"
    average: Average = "scores"
    flips: bool = True


class MultiCropDense(Node):
    """multi_crop_dense: the mean of both."""

    scales: Scales = "three"
    grid: Grid = 5
    average: Average = "scores"
    flips: bool = True


class Protocols(Node):
    """The group `protocol`: one or several, the first of which the results are of."""

    center: Center | None = None
    ten_crop: TenCrop | None = None
    multi_crop: MultiCrop | None = None
    dense: Dense | None = None
    multi_scale: MultiScale | None = None
    multi_crop_dense: MultiCropDense | None = None

    @model_validator(mode="after")
    def _present(self) -> Self:
        empty = [name for name in self.model_fields_set if getattr(self, name) is None]
        if empty:
            raise TransferkitError(f"protocol.{empty[0]}=null must be a mapping; protocol={empty[0]} has its keys.")
        return self


assert tuple(Protocols.model_fields) == PROTOCOLS
