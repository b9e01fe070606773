"""The schema of `model.json`: every key, its type and its range."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError, model_validator

from transferkit import choices

FORMAT = 3
"""The newest format that is read; an artifact is written in the oldest that can say what it holds."""
MAX_CLASSES = 1_000_000


def _class_name(value: Any) -> str:
    # Not pydantic's str, which refuses folder names that are not UTF-8 (Python's surrogate escapes).
    if not isinstance(value, str) or len(value) > 1000:
        raise ValueError("a class name is text of at most 1,000 characters")
    return value


ClassName = Annotated[str, PlainValidator(_class_name)]
Name = Annotated[str, Field(min_length=1, max_length=1000)]
Side = Annotated[int, Field(ge=1, le=4096)]
Pair = Annotated[list[Side], Field(min_length=2, max_length=2)]
ResizePair = Annotated[list[Annotated[int, Field(ge=1, le=100_000)]], Field(min_length=2, max_length=2)]
Mean = Annotated[list[Annotated[float, Field(ge=-1000, le=1000)]], Field(min_length=3, max_length=3)]
Std = Annotated[list[Annotated[float, Field(gt=0, le=1000)]], Field(min_length=3, max_length=3)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Width = Annotated[int, Field(ge=1, le=1 << 24)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)


class BackbonePart(_Part):
    """Which network, and the name of the weights that it started from."""

    source: Name
    name: Name
    kwargs: dict[str, Any]
    weights: str | None = Field(max_length=4096)

    @model_validator(mode="after")
    def _bounded(self) -> "BackbonePart":
        check_kwargs_size(self.kwargs)
        return self


class LinearPart(_Part):
    """A linear head: weight (K, D) and bias (K,)."""

    type: Literal["linear"]
    in_features: Width
    num_classes: int = Field(ge=1, le=MAX_CLASSES)


class NeighborsPart(_Part):
    """A head of nearest neighbours: gallery (rows, D) and labels (rows,)."""

    type: Literal["neighbors"]
    in_features: Width
    num_classes: int = Field(ge=1, le=MAX_CLASSES)
    rows: int = Field(ge=1, le=1 << 31)
    k: int = Field(ge=1, le=1 << 31)
    metric: Name
    temperature: float = Field(1.0, gt=0, le=1000)

    @model_validator(mode="after")
    def _enough_rows(self) -> "NeighborsPart":
        if self.k > self.rows:
            raise ValueError(f"k={self.k} is more than the {self.rows} rows")
        return self


class KnownPart(_Part):
    """Distance of known images: features (rows, D) of training images, and the largest distance."""

    rows: int = Field(ge=1, le=100_000)
    in_features: Width
    threshold: float = Field(ge=0, le=2.01)


Scale = Annotated[list[float], Field(min_length=1, max_length=MAX_CLASSES)]


class TargetPart(_Part):
    """A target that is no class: its kind and, of numbers, mean and deviation of the training images."""

    kind: choices.Target
    mean: Scale | None = None
    std: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1, max_length=MAX_CLASSES)] | None = None

    def logits(self, names: int) -> int:
        """The number of logits for so many names."""
        return names - 1 if self.kind == "ordinal" else names


class PreprocessingPart(_Part):
    """See `Preprocessing`, which knows the names of interpolations."""

    input_size: Pair
    resize_size: ResizePair
    interpolation: Name
    mean: Mean
    std: Std
    crop_pct: float = Field(gt=0, le=1)
    crop_mode: Literal["center", "squash"]


class ModelDescription(BaseModel):
    """The whole file. Further keys are notes: of the fit, for people and for `task=evaluate`.

    Attributes:
        format: 1 has no hashes; 2 has both; 3 has a target other than classes.
        backbone: The network.
        stage: The last stage that the file of weights holds.
        stages: Those whose features the head takes; the last one where it is missing.
        pool: How maps become vectors.
        head: Its kind and sizes.
        class_names: In the order of the logits; of a target that is no class the names of its labels or values.
        target: What is predicted; None for one of the classes.
        preprocessing: From an image to the input.
        known: How far the features of known images lie; None where the artifact does not say.
        held_out_scores: Number of conformal scores; None where there are none.
        weights_sha256: Of `model.safetensors`.
        metadata_sha256: Of everything else in this file.
    """

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False, frozen=True)

    format: Literal[1, 2, 3]
    backbone: BackbonePart
    stage: Name
    stages: Annotated[list[Name], Field(min_length=1, max_length=100)] | None = None
    pool: Name = "avg"
    head: Annotated[LinearPart | NeighborsPart, Field(discriminator="type")]
    class_names: Annotated[list[ClassName], Field(min_length=1, max_length=MAX_CLASSES)]
    target: TargetPart | None = None
    preprocessing: PreprocessingPart
    known: KnownPart | None = None
    held_out_scores: int | None = Field(None, ge=1, le=1_000_000)
    weights_sha256: Digest | None = None
    metadata_sha256: Digest | None = None

    @model_validator(mode="after")
    def _agree(self) -> "ModelDescription":
        logits = self.target.logits(len(self.class_names)) if self.target else len(self.class_names)
        if logits != self.head.num_classes:
            raise ValueError(f"{len(self.class_names)} class names for a head of {self.head.num_classes} classes")
        if len(set(self.class_names)) < len(self.class_names):
            raise ValueError("a class name occurs twice")
        scale = [self.target.mean, self.target.std] if self.target else []
        wanted = len(self.class_names) if self.target and self.target.kind == "regression" else None
        if any((None if part is None else len(part)) != wanted for part in scale):
            raise ValueError("mean and std of the target do not go with its names")
        if (self.target is not None) != (self.format >= 3):
            raise ValueError(f"format {self.format} does not go with the entry target")
        if self.format >= 2 and (self.weights_sha256 is None or self.metadata_sha256 is None):
            raise ValueError("weights_sha256 or metadata_sha256 is missing")
        return self


def check_kwargs_size(kwargs: Any) -> None:
    """Refuse keyword arguments that no real network has: a huge number, or very many of them.

    Raises:
        ValueError: Naming them.
    """
    waiting, count = [kwargs], 0
    while waiting:
        value = waiting.pop()
        count += 1
        if isinstance(value, dict | list):
            waiting.extend(value.values() if isinstance(value, dict) else value)
        if isinstance(value, int | float) and abs(value) > MAX_CLASSES:
            raise ValueError(f"kwargs hold {value}")
        if count > 10_000:
            raise ValueError("kwargs hold more than 10,000 values")


def first_problem(error: ValidationError) -> str:
    """Return the first thing that is wrong, in one line: `head.num_classes: Input should be ... (-3)`."""
    problem = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    given = problem["input"]
    shown = f" ({str(given)[:60]!r})" if isinstance(given, str | int | float | bool) else ""
    return f"{where}: {problem['msg']}{shown}" if where else str(problem["msg"])
