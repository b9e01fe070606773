"""The keys of the group `optimizer`. For null, torch's default is used."""

from typing import Annotated, Any, Literal

from pydantic import Field

from transferkit.config.node import Node, Rate, Text

Decay = Annotated[float, Field(ge=0, lt=1)]


class Optimizer(Node):
    """Keys of every optimizer."""

    lr: Rate | None = None
    lr_scale: float = Field(1.0, gt=0, le=10_000)
    weight_decay: float | None = Field(None, ge=0, le=10)
    foreach: bool | None = None


class Sgd(Optimizer):
    """name: sgd."""

    name: Literal["sgd"]
    momentum: Decay | None = None
    dampening: Decay | None = None
    nesterov: bool | None = None
    fused: bool | None = None


class Adaptive(Optimizer):
    """Keys of Adam and its variants."""

    betas: Annotated[list[Decay], Field(min_length=2, max_length=2)] | None = None
    eps: float | None = Field(None, gt=0, le=1)


class Adam(Adaptive):
    """name: adam or adamw."""

    name: Literal["adam", "adamw"]
    amsgrad: bool | None = None
    fused: bool | None = None


class RAdam(Adaptive):
    """name: radam."""

    name: Literal["radam"]
    decoupled_weight_decay: bool | None = None


class NAdam(Adaptive):
    """name: nadam."""

    name: Literal["nadam"]
    momentum_decay: Decay | None = None
    decoupled_weight_decay: bool | None = None


class RmsProp(Optimizer):
    """name: rmsprop."""

    name: Literal["rmsprop"]
    alpha: Decay | None = None
    eps: float | None = Field(None, gt=0, le=1)
    momentum: Decay | None = None
    centered: bool | None = None


class Adagrad(Optimizer):
    """name: adagrad."""

    name: Literal["adagrad"]
    lr_decay: float | None = Field(None, ge=0, le=1)
    initial_accumulator_value: float | None = Field(None, ge=0, le=1e6)
    eps: float | None = Field(None, gt=0, le=1)
    fused: bool | None = None


class Timm(Optimizer):
    """source: timm, any optimizer of timm's by its name there; for null, that optimizer's own default is used."""

    source: Literal["timm"]
    name: Text
    momentum: Decay | None = None
    betas: Annotated[list[Decay], Field(min_length=2, max_length=3)] | None = None
    eps: float | None = Field(None, gt=0, le=1)
    kwargs: dict[str, Any] = Field(default_factory=dict)


OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": Sgd,
    "adam": Adam,
    "adamw": Adam,
    "nadam": NAdam,
    "radam": RAdam,
    "rmsprop": RmsProp,
    "adagrad": Adagrad,
}
"""Name of an optimizer to its keys."""
