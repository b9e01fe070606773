"""Numbers: squared error on values that are standardised by the training images, and undone in predictions."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error
from torch import Tensor

from transferkit.arrays import Doubles
from transferkit.errors import TransferkitError, shown
from transferkit.targets.target import LabelCells, LabelRows, Metrics, Outputs, Target, number

BINS = 10
"""Quantile bins whose shares the splits keep; fewer where there are few images."""

IMAGES_PER_BIN = 5


class ValuesPrediction(NamedTuple):
    """The prediction of numbers for one image.

    Attributes:
        values: By the names of the target, in the units of the table.
        known: Whether the image is like those of the training set; None where the model does not tell.
        distance: Of its features from the nearest of the training set, from 0 to 2; None as `known`.
    """

    values: dict[str, float]
    known: bool | None = None
    distance: float | None = None

    @property
    def value(self) -> float:
        """The first of the values, of a target that has one."""
        return next(iter(self.values.values()))


@dataclass(frozen=True)
class RegressionTarget(Target):
    """Labels (N, T) and outputs (N, T) are numbers in the units of the table; logits are standardised values.

    Attributes:
        mean: Of each value over the training images.
        std: Their standard deviation.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    kind = "regression"
    main = "r2"

    def __post_init__(self) -> None:
        if not self.mean:
            object.__setattr__(self, "mean", (0.0,) * len(self.names))
            object.__setattr__(self, "std", (1.0,) * len(self.names))

    def words(self) -> str:
        """The target in words."""
        return f"{len(self.names)} value{'' if len(self.names) == 1 else 's'} ({shown(self.names)})"

    def outputs(self, logits: Tensor) -> Tensor:
        """Values in the units of the table."""
        return logits * logits.new_tensor(self.std) + logits.new_tensor(self.mean)

    def logits(self, outputs: Tensor) -> Tensor:
        """Standardised values of values (n, T) in the units of the table."""
        return (outputs - outputs.new_tensor(self.mean)) / outputs.new_tensor(self.std)

    def encode(self, labels: LabelRows) -> Doubles:
        """Standardised values."""
        found: Doubles = (np.asarray(labels, dtype=np.float64) - self.mean) / self.std
        return found

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Squared error of standardised values, the mean over the values."""
        wanted = (labels.to(logits.dtype) - logits.new_tensor(self.mean)) / logits.new_tensor(self.std)
        return (logits - wanted).square().mean(dim=1)

    def losses(self, outputs: Outputs, labels: LabelRows) -> Doubles:
        """Squared error of standardised values, the mean over the values."""
        found: Doubles = ((np.asarray(outputs, dtype=np.float64) - labels) / self.std) ** 2
        return np.asarray(found.mean(axis=1))

    def difference(self, one: Outputs, other: Outputs) -> float:
        """Mean absolute difference of the values."""
        return float(np.abs(np.asarray(one, dtype=np.float64) - other).mean())

    def metrics(self, outputs: Outputs, labels: LabelRows) -> Metrics:
        """Errors in the units of the table.

        Returns:
            `r2` (None where all values are equal), `mae`, `rmse`, the means over the values; `loss`, the mean squared
            error in units of the variance of the training images; `per_value`: the first three of each value; `n`.
        """
        rows = {}
        for k, name in enumerate(self.names):
            true, found = np.asarray(labels[:, k], dtype=np.float64), np.asarray(outputs[:, k], dtype=np.float64)
            varied = len(true) > 1 and np.ptp(true) > 0
            rows[name] = {
                "r2": number(r2_score(true, found)) if varied else None,
                "mae": float(mean_absolute_error(true, found)),
                "rmse": float(root_mean_squared_error(true, found)),
            }
        defined = [row["r2"] for row in rows.values() if row["r2"] is not None]
        return {
            "r2": float(np.mean(defined)) if defined else None,
            "mae": float(np.mean([row["mae"] for row in rows.values()])),
            "rmse": float(np.mean([row["rmse"] for row in rows.values()])),
            "loss": float(self.losses(outputs, labels).mean()),
            "per_value": rows,
            "n": len(labels),
        }

    def text(self, label: Any) -> str:
        """The numbers, with `;` between several; they read back as the same."""
        return ";".join(str(value) for value in np.asarray(label, dtype=np.float32))

    def answer(self, outputs: npt.NDArray[np.float32]) -> ValuesPrediction:
        """The values by name."""
        return ValuesPrediction(dict(zip(self.names, outputs.tolist(), strict=True)))

    def outputs_of(self, prediction: Any) -> npt.NDArray[np.float32]:
        """The values (T,)."""
        return np.array(list(prediction.values.values()), dtype=np.float32)

    def check(self, labels: LabelRows, dataset: str) -> None:
        """Every value varies over the training images."""
        if constant := [name for k, name in enumerate(self.names) if np.ptp(labels[:, k]) == 0]:
            raise TransferkitError(
                f"dataset {dataset}: all training images have the same number in {shown(constant)}, so there is "
                "nothing to learn."
            )

    def counts(self, labels: LabelRows) -> npt.NDArray[np.int64]:
        """No classes, no counts."""
        return np.zeros(0, dtype=np.int64)

    def strata(self, labels: LabelRows) -> npt.NDArray[np.int64]:
        """Quantile bins (N,) of the value, or of the mean of several standardised ones."""
        values = self.encode(labels).mean(axis=1) if labels.shape[1] > 1 else labels[:, 0]
        bins = int(np.clip(len(values) // IMAGES_PER_BIN, 1, BINS))
        return np.searchsorted(np.unique(np.quantile(values, np.arange(1, bins) / bins)), values, side="right")

    def scaled(self, labels: LabelRows) -> "RegressionTarget":
        """The target with mean and deviation of these training labels."""
        values = np.asarray(labels, dtype=np.float64)
        return RegressionTarget(self.names, tuple(values.mean(axis=0).tolist()), tuple(values.std(axis=0).tolist()))

    def renumbered(self, labels: LabelRows, places: npt.NDArray[np.int64], dataset: str) -> LabelRows:
        """The same values in this target's order.

        Raises:
            TransferkitError: The data set lacks one.
        """
        if missing := [name for k, name in enumerate(self.names) if k not in places]:
            raise TransferkitError(f"dataset {dataset} has no numbers for {shown(missing)}, which the model predicts.")
        return np.asarray(labels[:, np.argsort(places)])

    def describe(self) -> dict[str, Any]:
        """The kind and the scale."""
        return {"kind": self.kind, "mean": list(self.mean), "std": list(self.std)}


def read(cells: LabelCells) -> tuple[RegressionTarget, npt.NDArray[np.float32]]:
    """Return the numbers of a table, one column for each value; one column may have several with `;` between them.

    Raises:
        TransferkitError: A cell is no finite number, or rows have different numbers of them.
    """
    rows = [[part.strip() for cell in row for part in cell.split(";")] for row in cells.rows]
    wrong = [(row, part) for row, parts in enumerate(rows) for part in parts if not _is_number(part)]
    cells.refuse(wrong, "cells that are no numbers")
    width = len(rows[0])
    uneven = [(row, ";".join(parts)) for row, parts in enumerate(rows) if len(parts) != width]
    cells.refuse(uneven, f"rows with other than {width} numbers")
    names = cells.columns if width == len(cells.columns) else [f"{cells.columns[0]}_{k + 1}" for k in range(width)]
    return RegressionTarget(tuple(names)), np.array(rows, dtype=np.float64).astype(np.float32)


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(np.float32(text)))
    except ValueError:
        return False
