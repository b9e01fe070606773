"""The entries of a run's `metrics.json` that a comparison uses, with types and ranges."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from transferkit.artifact_schema import first_problem
from transferkit.errors import shown_text

Fraction = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(max_length=1000)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class _Test(_Part):
    top1: Fraction
    balanced_accuracy: Fraction
    n: int = Field(ge=1)


class _Val(_Part):
    top1: Fraction


class _Seconds(_Part):
    total: float = Field(ge=0)


class _Cached(_Part):
    images: int = Field(ge=0)
    seconds: float | None = Field(ge=0)


class _Figures(_Part):
    test: _Test
    val: _Val
    strategy: Name
    backbone: Name
    weights: Name | None
    dataset: Name
    seed: int
    num_classes: int = Field(ge=1)
    trainable_parameters: int = Field(ge=0)
    seconds: _Seconds
    cached: _Cached | None = None


NEEDED = tuple(name for name, field in _Figures.model_fields.items() if field.is_required())
NAMES = ("strategy", "backbone", "weights", "dataset")


def check_figures(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures, with names that a terminal and a page can show.

    Raises:
        ValueError: A key is missing, or a value is none that can be, or the run is not one of classes; the message says
            which.
    """
    if isinstance(target := metrics.get("target"), dict):
        raise ValueError(f"task=compare is for classes, and this run has dataset.target={target.get('kind')}")
    if lacking := [key for key in NEEDED if key not in metrics]:
        raise ValueError(f"metrics.json lacks {', '.join(lacking)}")
    try:
        _Figures.model_validate(metrics)
    except ValidationError as error:
        raise ValueError(f"metrics.json cannot be used ({first_problem(error)})") from None
    return {**metrics, **{key: shown_text(metrics[key]) for key in NAMES if metrics[key] is not None}}
