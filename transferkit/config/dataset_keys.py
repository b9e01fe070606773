"""The keys of the group `dataset`: those of every data set, and those of each kind."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from transferkit import choices
from transferkit.config.node import Images, Node, Path, Seed, Text
from transferkit.errors import TransferkitError

LAYOUT = "ROOT/CLASS/image.jpg, or ROOT/train/CLASS/image.jpg with val/ and test/ beside train/ if you have them"
"""Of a folder of images."""

MOST_PIXELS = 20_000_000_000
"""Of all images of a generated set together: they are held in memory."""


SEVERAL_COLUMNS = ("multilabel", "regression")
"""Kinds of targets whose labels may stand in several columns of a table."""


class Dataset(Node):
    """Keys of every kind of data set."""

    kind: str
    name: Text | None = None
    val_fraction: float = Field(0.2, gt=0, lt=1)
    test_fraction: float = Field(0.2, gt=0, lt=1)
    per_class: int | None = Field(None, ge=2, le=1_000_000)
    fraction: float | None = Field(None, gt=0, le=1)
    max_test: Images | None = None
    on_error: Literal["error", "skip"] = "error"
    on_leak: Literal["warn", "drop", "error"] = "warn"
    cache: Literal["pixels"] | None = None
    exclude: Path | None = None
    exclude_kinds: Annotated[list[choices.ProblemKind], Field(min_length=1, max_length=100)] | None = None

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.val_fraction + self.test_fraction >= 1:
            raise TransferkitError(
                f"dataset.val_fraction={self.val_fraction} must be below 1 - dataset.test_fraction "
                f"({self.test_fraction}): something must be left for train."
            )
        if self.fraction is not None and self.per_class is not None:
            raise TransferkitError(
                f"dataset.fraction={self.fraction} must be null when dataset.per_class is set ({self.per_class})."
            )
        if self.exclude_kinds is not None and self.exclude is None:
            raise TransferkitError("dataset.exclude_kinds needs dataset.exclude=FILE, the table whose rows have kinds.")
        return self


class Digits(Dataset):
    """kind: digits."""

    kind: Literal["digits"]


class Folder(Dataset):
    """kind: folder."""

    kind: Literal["folder"]
    root: Path = Field(description=f"the folder of your images, laid out as {LAYOUT}")


class Csv(Dataset):
    """kind: csv."""

    kind: Literal["csv"]
    file: Path = Field(description="a CSV file with the columns path, label and optionally split")
    root: Path | None = None
    path_column: Text = "path"
    label_column: Text = "label"
    split_column: Text = "split"
    target: choices.Target = "class"
    label_columns: Annotated[list[Text], Field(min_length=1, max_length=100_000)] | None = None
    order: Annotated[list[Text], Field(min_length=2, max_length=100_000)] | None = None

    @model_validator(mode="after")
    def _suits_the_target(self) -> Self:
        if self.label_columns is not None and self.target not in SEVERAL_COLUMNS:
            raise TransferkitError(
                f"dataset.label_columns is for dataset.target={' or '.join(SEVERAL_COLUMNS)}, not for {self.target}, "
                "whose labels stand in one column (dataset.label_column)."
            )
        if self.order is not None and self.target != "ordinal":
            raise TransferkitError(f"dataset.order is for dataset.target=ordinal, not for {self.target}.")
        if self.per_class is not None and self.target in SEVERAL_COLUMNS:
            raise TransferkitError(
                f"dataset.per_class needs classes, which dataset.target={self.target} has none of: dataset.fraction "
                "takes a part of all images."
            )
        for names, key in ((self.label_columns, "label_columns"), (self.order, "order")):
            if names is not None and len(set(names)) < len(names):
                raise TransferkitError(f"dataset.{key} names something twice.")
        return self


class Torchvision(Dataset):
    """kind: torchvision."""

    kind: Literal["torchvision"]
    set: Text | None = None
    root: Path = "data"
    download: bool = True


class Generated(Dataset):
    """Keys of the generated data sets."""

    images: int = Field(5000, ge=2, le=10_000_000)
    classes: int = Field(50, ge=2, le=100_000)
    size: int = Field(32, ge=8, le=1024)
    seed: Seed = 0

    @model_validator(mode="after")
    def _enough_and_not_too_many(self) -> Self:
        if self.images < self.classes:
            raise TransferkitError(
                f"dataset.images={self.images} must be a whole number of at least {self.classes}, one for each of "
                "dataset.classes."
            )
        if self.images * self.size**2 > MOST_PIXELS:
            raise TransferkitError(
                f"dataset.images={self.images} of dataset.size={self.size} are too many: at most "
                f"{MOST_PIXELS // self.size**2} of that size."
            )
        return self


class Glyphs(Generated):
    """kind: glyphs."""

    kind: Literal["glyphs"]
    elastic: float = Field(0.08, ge=0, le=1)


class Fractals(Generated):
    """kind: fractals."""

    kind: Literal["fractals"]
    filling: float = Field(0.2, ge=0, lt=1)


DATASETS: dict[str, type[Dataset]] = {
    "folder": Folder,
    "csv": Csv,
    "torchvision": Torchvision,
    "digits": Digits,
    "glyphs": Glyphs,
    "fractals": Fractals,
}
"""Kind of a data set to its keys."""
