"""The keys of the group `backbone`."""

from typing import Annotated, Any, Literal

from pydantic import Field

from transferkit.choices import Interpolation, Source
from transferkit.config.node import Node, Path, Text

Side = Annotated[int, Field(ge=1, le=4096)]
Mean = Annotated[float, Field(ge=-1000, le=1000)]
Std = Annotated[float, Field(gt=0, le=1000)]


class Inputs(Node):
    """Overrides of the preprocessing that the weights define."""

    mean: Mean | Annotated[list[Mean], Field(min_length=3, max_length=3)] | None = None
    std: Std | Annotated[list[Std], Field(min_length=3, max_length=3)] | None = None
    input_size: Side | Annotated[list[Side], Field(min_length=2, max_length=2)] | None = None
    interpolation: Interpolation | None = None
    crop_pct: float | None = Field(None, ge=0.05, le=1)


class Resize(Node):
    """Additional keys of a fitted model's preprocessing."""

    resize_size: Annotated[list[Annotated[int, Field(ge=1, le=100_000)]], Field(min_length=2, max_length=2)]


class Backbone(Inputs):
    """The group `backbone`."""

    name: Text
    source: Literal["auto"] | Source = "auto"
    weights: Path | None = "imagenet"
    kwargs: dict[str, Any] = Field(default_factory=dict)
