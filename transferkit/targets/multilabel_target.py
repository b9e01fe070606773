"""Several labels at once, or none: a sigmoid for each label and binary cross entropy."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch.nn.functional as F
from sklearn.metrics import average_precision_score, f1_score
from torch import Tensor

from transferkit.arrays import Doubles, Labels
from transferkit.errors import TransferkitError, shown
from transferkit.targets.target import LabelCells, LabelRows, Metrics, Outputs, Target, binary_losses, number

SEPARATOR = ";"
"""Between the labels of an image in one cell."""

THRESHOLD = 0.5
"""Probability from which a label is predicted."""

YES, NO = ("1", "true", "yes", "1.0"), ("0", "false", "no", "0.0", "")


class LabelsPrediction(NamedTuple):
    """The prediction for one image of several labels.

    Attributes:
        labels: Those with a probability of at least one half, in the order of the target's names.
        probabilities: Of all labels (K,).
        known: Whether the image is like those of the training set; None where the model does not tell.
        distance: Of its features from the nearest of the training set, from 0 to 2; None as `known`.
    """

    labels: tuple[str, ...]
    probabilities: npt.NDArray[np.float32]
    known: bool | None = None
    distance: float | None = None


@dataclass(frozen=True)
class MultilabelTarget(Target):
    """Labels (N, K) are 0 and 1; outputs (N, K) are probabilities, each label by itself."""

    kind = "multilabel"
    main = "map"

    def words(self) -> str:
        """The target in words."""
        return f"{len(self.names)} label{'' if len(self.names) == 1 else 's'}, several at once"

    def outputs(self, logits: Tensor) -> Tensor:
        """Sigmoid of logits (n, K)."""
        return logits.sigmoid()

    def logits(self, outputs: Tensor) -> Tensor:
        """Logarithms of the odds of probabilities (n, K)."""
        return outputs.logit()

    def encode(self, labels: LabelRows) -> Doubles:
        """The labels as they are."""
        return np.asarray(labels, dtype=np.float64)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Binary cross entropy, the mean over the labels."""
        return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none").mean(dim=1)

    def losses(self, outputs: Outputs, labels: LabelRows) -> Doubles:
        """Binary cross entropy, the mean over the labels."""
        return binary_losses(outputs, labels)

    def difference(self, one: Outputs, other: Outputs) -> float:
        """Share of the labels of all images that only one of the two predicts."""
        return float(((one >= THRESHOLD) != (other >= THRESHOLD)).mean())

    def metrics(self, outputs: Outputs, labels: LabelRows) -> Metrics:
        """Average precision and F1, of all labels together and of each.

        Returns:
            `map`, the mean of the average precisions of the labels that occur; `macro_f1` and `micro_f1` at
            probability 0.5 (0 for a label without images that is never predicted); `exact`, the share of images with
            all labels right; `loss`, the binary cross entropy in nats; `per_label`: `ap`, `f1`, `images` of each; `n`.
        """
        predicted = outputs >= THRESHOLD
        f1 = f1_score(labels, predicted, average=None, zero_division=0)
        precision = [
            float(average_precision_score(labels[:, k], outputs[:, k])) if labels[:, k].any() else float("nan")
            for k in range(len(self.names))
        ]
        occurring = [value for value in precision if np.isfinite(value)]
        return {
            "map": float(np.mean(occurring)) if occurring else None,
            "macro_f1": float(f1.mean()),
            "micro_f1": float(f1_score(labels, predicted, average="micro", zero_division=0)),
            "exact": float((predicted == labels).all(axis=1).mean()),
            "loss": float(self.losses(outputs, labels).mean()),
            "per_label": {
                name: {"ap": number(precision[k]), "f1": float(f1[k]), "images": int(labels[:, k].sum())}
                for k, name in enumerate(self.names)
            },
            "n": len(labels),
        }

    def text(self, label: Any) -> str:
        """The names of the labels, with `;` between them."""
        return SEPARATOR.join(name for name, present in zip(self.names, label, strict=True) if present)

    def answer(self, outputs: npt.NDArray[np.float32]) -> LabelsPrediction:
        """The labels with at least one half."""
        chosen = tuple(name for name, value in zip(self.names, outputs, strict=True) if value >= THRESHOLD)
        return LabelsPrediction(chosen, outputs)

    def check(self, labels: LabelRows, dataset: str) -> None:
        """Each label is there in some training images, and absent in others."""
        rates = labels.mean(axis=0)
        for value, what in ((0.0, "no readable training image has"), (1.0, "every training image has")):
            if found := [name for name, rate in zip(self.names, rates, strict=True) if rate == value]:
                raise TransferkitError(
                    f"dataset {dataset} has labels that cannot be learnt, since {what} them: {shown(found)}."
                )

    def counts(self, labels: LabelRows) -> npt.NDArray[np.int64]:
        """Images with each label (K,)."""
        return np.asarray(labels.sum(axis=0), dtype=np.int64)

    def renumbered(self, labels: LabelRows, places: npt.NDArray[np.int64], dataset: str) -> LabelRows:
        """The same labels in this target's order; those that the data set lacks are absent in all of its images."""
        found = np.zeros((len(labels), len(self.names)), dtype=np.int64)
        found[:, places] = labels
        return found


def read(cells: LabelCells) -> tuple[MultilabelTarget, Labels]:
    """Return the labels of a table: lists with `;` in one column, or a column of 0 and 1 for each label.

    Raises:
        TransferkitError: A cell of several columns is neither, or there is no label at all.
    """
    if len(cells.columns) > 1:
        return MultilabelTarget(tuple(cells.columns)), _from_columns(cells)
    lists = [[part for cell in row for part in map(str.strip, cell.split(SEPARATOR)) if part] for row in cells.rows]
    names = sorted({name for labels in lists for name in labels})
    if not names:
        raise TransferkitError(f"dataset.file={cells.file}: no image has a label in the column {cells.columns[0]}.")
    index = {name: k for k, name in enumerate(names)}
    found = np.zeros((len(lists), len(names)), dtype=np.int64)
    for row, labels in enumerate(lists):
        found[row, [index[name] for name in labels]] = 1
    return MultilabelTarget(tuple(names)), found


def _from_columns(cells: LabelCells) -> Labels:
    lowered = [[cell.strip().lower() for cell in row] for row in cells.rows]
    wrong = [
        (row, cells.rows[row][k])
        for row, values in enumerate(lowered)
        for k, value in enumerate(values)
        if value not in (*YES, *NO)
    ]
    cells.refuse(wrong, f"labels that are neither 0 nor 1 in the columns {', '.join(cells.columns)}")
    return np.array([[value in YES for value in values] for values in lowered], dtype=np.int64)
