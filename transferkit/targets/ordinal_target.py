"""Ordered classes: for each class but the first the probability of being at least that one, and its cross entropy.

The cumulative logits of Niu et al. 2016, Ordinal Regression with Multiple Output CNN, section 3: a binary classifier
"above class k" for each k. Where the classifiers contradict each other, the probability of being above a class is
lowered to that of being above the one before.
"""

from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from sklearn.metrics import cohen_kappa_score
from torch import Tensor

from transferkit.arrays import Doubles, Labels
from transferkit.errors import TransferkitError, shown
from transferkit.targets.class_target import OneOfClasses, Prediction
from transferkit.targets.target import LabelCells, LabelRows, Metrics, Outputs, binary_losses, number


@dataclass(frozen=True)
class OrdinalTarget(OneOfClasses):
    """Labels (N,) are ranks of K classes in ascending order; outputs (N, K) are their probabilities; K - 1 logits."""

    kind = "ordinal"
    main = "accuracy"

    @property
    def width(self) -> int:
        """Number of logits: one for each class but the first."""
        return len(self.names) - 1

    def words(self) -> str:
        """The target in words."""
        return f"{len(self.names)} ordered classes"

    def outputs(self, logits: Tensor) -> Tensor:
        """Probabilities (n, K) of the classes, from those of being above each."""
        # In steps, since `cummin` has no ONNX operation.
        above = torch.stack(list(accumulate(logits.sigmoid().unbind(dim=1), torch.minimum)), dim=1)
        ones, zeros = torch.ones_like(above[:, :1]), torch.zeros_like(above[:, :1])
        return torch.cat([ones, above], dim=1) - torch.cat([above, zeros], dim=1)

    def logits(self, outputs: Tensor) -> Tensor:
        """Logarithms of the odds of being above each class but the last, of probabilities (n, K)."""
        return (1 - outputs.cumsum(dim=1)[:, :-1]).clamp(0, 1).logit()

    def encode(self, labels: LabelRows) -> Doubles:
        """Whether each image is above each class but the last (N, K - 1)."""
        return (np.asarray(labels)[:, None] > np.arange(self.width)).astype(np.float64)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Binary cross entropy of being above each class, the mean over these."""
        above = labels[:, None] > torch.arange(self.width, device=labels.device)
        return F.binary_cross_entropy_with_logits(logits, above.to(logits.dtype), reduction="none").mean(dim=1)

    def losses(self, outputs: Outputs, labels: LabelRows) -> Doubles:
        """Binary cross entropy of being above each class, the mean over these."""
        return binary_losses(1 - np.cumsum(outputs, axis=1, dtype=np.float64)[:, :-1], self.encode(labels))

    def predicted(self, outputs: Outputs) -> Labels:
        """Return the median class of each image (N,): the one with the smallest expected error in ranks."""
        return np.asarray((np.cumsum(outputs, axis=1, dtype=np.float64)[:, :-1] < 0.5).sum(axis=1), dtype=np.int64)

    def difference(self, one: Outputs, other: Outputs) -> float:
        """Share of images with different median classes."""
        return float((self.predicted(one) != self.predicted(other)).mean())

    def metrics(self, outputs: Outputs, labels: LabelRows) -> Metrics:
        """Agreement of the median class with the true one.

        Returns:
            `accuracy`; `mae_ranks`, the mean distance in classes; `quadratic_kappa`, Cohen's kappa with quadratic
            weights (None where it is undefined); `loss`, the cumulative binary cross entropy in nats; `n`.
        """
        predicted = self.predicted(outputs)
        with np.errstate(invalid="ignore"):
            kappa = cohen_kappa_score(labels, predicted, weights="quadratic", labels=np.arange(len(self.names)))
        return {
            "accuracy": float((predicted == labels).mean()),
            "mae_ranks": float(np.abs(predicted - labels).mean()),
            "quadratic_kappa": number(kappa),
            "loss": float(self.losses(outputs, labels).mean()),
            "n": len(labels),
        }

    def answer(self, outputs: npt.NDArray[np.float32]) -> Prediction:
        """The median class."""
        best = int(self.predicted(outputs[None])[0])
        return Prediction(self.names[best], float(outputs[best]), outputs)


def read(cells: LabelCells) -> tuple[OrdinalTarget, Labels]:
    """Return the classes of a table in the order of `dataset.order`, or of their numbers.

    Raises:
        TransferkitError: The order is not given and the classes are no numbers, or it does not name all classes.
    """
    labels = [row[0] for row in cells.rows]
    found = sorted(set(labels))
    order = list(cells.order) if cells.order is not None else _by_number(found, cells.file)
    if missing := [name for name in found if name not in order]:
        raise TransferkitError(f"dataset.order lacks classes of dataset.file={cells.file}: {shown(missing)}.")
    index = {name: rank for rank, name in enumerate(order)}
    return OrdinalTarget(tuple(order)), np.array([index[label] for label in labels], dtype=np.int64)


def _by_number(names: list[str], file: str) -> list[str]:
    try:
        return sorted(names, key=float)
    except ValueError:
        raise TransferkitError(
            f"dataset.order is needed for dataset.target=ordinal: the classes of dataset.file={file} from the lowest "
            f"to the highest, such as dataset.order=[{','.join(names[:5])}]."
        ) from None
