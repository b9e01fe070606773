"""One of several classes, which is what most data sets have: soft-max and cross entropy."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from transferkit.arrays import Doubles, Labels
from transferkit.errors import TransferkitError, shown
from transferkit.metrics import SMALLEST, compute_metrics
from transferkit.targets.target import LabelCells, LabelRows, Metrics, Outputs, Target


class Prediction(NamedTuple):
    """The prediction for one image.

    Attributes:
        label: The most likely class; of ordered classes the median.
        confidence: Its probability.
        probabilities: Those of all classes (K,).
        known: Whether the image is like those of the training set; None where the model does not tell.
        distance: Of its features from the nearest of the training set, from 0 to 2; None as `known`.
        classes: A set of classes that holds the true one with the coverage asked for; None where none was.
    """

    label: str
    confidence: float
    probabilities: npt.NDArray[np.float32]
    known: bool | None = None
    distance: float | None = None
    classes: tuple[str, ...] | None = None


@dataclass(frozen=True)
class OneOfClasses(Target):
    """Labels (N,) are indices of K classes, ordered or not."""

    exclusive = True

    def text(self, label: Any) -> str:
        """The name of the class."""
        return self.names[int(label)]

    def check(self, labels: LabelRows, dataset: str) -> None:
        """At least two classes, each with training images."""
        if len(self.names) < 2:
            raise TransferkitError(
                f"dataset {dataset} has a single class ({shown(self.names)}). A classifier needs at least two."
            )
        missing = np.setdiff1d(np.arange(len(self.names)), labels)
        if len(missing):
            raise TransferkitError(
                f"dataset {dataset} has classes without a readable training image: "
                f"{shown([self.names[i] for i in missing])}. Every class needs some."
            )

    def counts(self, labels: LabelRows) -> npt.NDArray[np.int64]:
        """Images of each class (K,)."""
        return np.bincount(labels, minlength=len(self.names))

    def renumbered(self, labels: LabelRows, places: npt.NDArray[np.int64], dataset: str) -> LabelRows:
        """The same classes by this target's numbers."""
        return places[labels]


@dataclass(frozen=True)
class ClassTarget(OneOfClasses):
    """Labels (N,) are indices of K classes; outputs (N, K) are their probabilities."""

    kind = "class"
    soft_max = True
    main = "top1"
    loss_name = "nll"

    def words(self) -> str:
        """The target in words."""
        return f"{len(self.names)} classes"

    def outputs(self, logits: Tensor) -> Tensor:
        """Soft-max of logits (n, K)."""
        return logits.softmax(dim=1)

    def logits(self, outputs: Tensor) -> Tensor:
        """Logarithms of probabilities (n, K)."""
        return outputs.log()

    def encode(self, labels: LabelRows) -> Doubles:
        """Indicators of the classes."""
        return np.eye(len(self.names))[labels]

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross entropy."""
        return F.cross_entropy(logits, labels, reduction="none")

    def training_loss(
        self, logits: Tensor, labels: Tensor, weight: Tensor | None = None, smoothing: float = 0.0
    ) -> Tensor:
        """Cross entropy of labels (n,), or of mixed ones (n, K)."""
        return F.cross_entropy(logits, target=labels, weight=weight, label_smoothing=smoothing)

    def sums(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Sum of the losses, and number of images whose likeliest class is right."""
        loss = -logits.float().log_softmax(1).gather(1, labels[:, None]).double().sum()
        return loss, torch.as_tensor(logits.argmax(1) == labels).double().sum()

    def losses(self, outputs: Outputs, labels: LabelRows) -> Doubles:
        """Negative log-likelihood of the true class."""
        found: Doubles = -np.log(np.maximum(outputs[np.arange(len(labels)), labels], SMALLEST))
        return found

    def hits(self, outputs: Outputs, labels: LabelRows) -> Doubles:
        """Whether the likeliest class is the true one."""
        found: Doubles = (outputs.argmax(axis=1) == labels).astype(np.float64)
        return found

    def difference(self, one: Outputs, other: Outputs) -> float:
        """Share of images with different likeliest classes."""
        return float((one.argmax(axis=1) != other.argmax(axis=1)).mean())

    def rank(self, outputs: Outputs, labels: LabelRows) -> tuple[float, float]:
        """Top-1 accuracy and negative log-likelihood."""
        figures = compute_metrics(outputs, labels)
        return figures["top1"], figures["nll"]

    def metrics(self, outputs: Outputs, labels: LabelRows) -> Metrics:
        """See `transferkit.metrics.compute_metrics`."""
        return compute_metrics(outputs, labels)

    def answer(self, outputs: npt.NDArray[np.float32]) -> Prediction:
        """The likeliest class."""
        best = int(outputs.argmax())
        return Prediction(self.names[best], float(outputs[best]), outputs)


def read(cells: LabelCells) -> tuple[ClassTarget, Labels]:
    """Return the classes of a table, sorted as text, and the class of each image."""
    labels = [row[0] for row in cells.rows]
    names = sorted(set(labels))
    index = {name: label for label, name in enumerate(names)}
    return ClassTarget(tuple(names)), np.array([index[label] for label in labels], dtype=np.int64)
