"""The keys of the group `backbone`."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from transferkit.choices import Interpolation, Source
from transferkit.config.node import Node, Path, Text
from transferkit.errors import TransferkitError

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


def _different(names: list[str]) -> list[str]:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise TransferkitError(f"backbones names {', '.join(twice)} more than once.")
    return names


Backbones = Annotated[
    list[Text],
    AfterValidator(_different),
    Field(min_length=1, max_length=32, description="a list of 1 to 32 names such as [efficientnet_lite0, resnet50]"),
]
"""Networks to choose from: choices of the group `backbone`, or names of torchvision's or timm's networks."""
