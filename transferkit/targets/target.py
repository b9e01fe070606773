"""The base of all kinds of targets: from the labels of images to a loss, predictions and metrics."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from transferkit.arrays import Doubles
from transferkit.config.target_use import SOLVERS
from transferkit.errors import TransferkitError, shown
from transferkit.metrics import SMALLEST

LabelRows = npt.NDArray[Any]
"""Labels of N images: (N,) where each has one class, else (N, T)."""

Outputs = npt.NDArray[np.float32]
"""Predictions for N images: (N, K) probabilities of classes or labels, or (N, T) values."""

Metrics = dict[str, Any]
"""Plain numbers by name, None where one is undefined; with `n`, the number of images, and the loss (`loss_name`)."""


class LabelCells(NamedTuple):
    """The cells of a table of images that hold their labels.

    Attributes:
        columns: Names of the columns.
        rows: The cells of each image, one for each column.
        lines: The line of each image in the table, for messages.
        file: The table, for messages.
        order: `dataset.order`, if given.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    lines: Sequence[int]
    file: str
    order: Sequence[str] | None = None

    def refuse(self, wrong: Sequence[tuple[int, str]], what: str) -> None:
        """Raise a `TransferkitError` if there are any (row, cell) that are wrong."""
        if wrong:
            cells = [f"{cell!r} (line {self.lines[row]})" for row, cell in wrong]
            raise TransferkitError(f"{what} in dataset.file={self.file}: {shown(cells)}.")


@dataclass(frozen=True)
class Target(ABC):
    """The meaning of the labels of a data set, and of the outputs of a model for it.

    Attributes:
        names: Of the classes, labels or values.
    """

    names: tuple[str, ...]

    kind: ClassVar[str]
    """As `dataset.target` has it."""
    exclusive: ClassVar[bool] = False
    """Whether each image has exactly one of the names, so that labels are (N,) indices of them."""
    soft_max: ClassVar[bool] = False
    """Whether the outputs are the soft-max of the logits, which can be calibrated and made into sets of classes."""
    main: ClassVar[str]
    """The metric that is shown first."""
    loss_name: ClassVar[str] = "loss"
    """The metric that is the mean of `losses`."""

    @property
    def solver(self) -> str:
        """The classifier of exact probes: "logistic", a logistic regression for each logit; or "ridge"."""
        return SOLVERS.get(self.kind, "logistic")

    @property
    def width(self) -> int:
        """Number of logits T."""
        return len(self.names)

    @abstractmethod
    def words(self) -> str:
        """The target in words: "10 classes"."""

    @abstractmethod
    def outputs(self, logits: Tensor) -> Tensor:
        """Return the outputs of logits (n, T)."""

    @abstractmethod
    def logits(self, outputs: Tensor) -> Tensor:
        """Return logits (n, T) whose outputs are these; infinite where a probability is 0 or 1."""

    @abstractmethod
    def encode(self, labels: LabelRows) -> Doubles:
        """Return what a linear model with `solver` is fitted to, (N, T)."""

    @abstractmethod
    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each image (n,) of logits (n, T), to be minimised."""

    def training_loss(
        self, logits: Tensor, labels: Tensor, weight: Tensor | None = None, smoothing: float = 0.0
    ) -> Tensor:
        """Return the mean loss of a batch; class weights (K,) and label smoothing are for one of several classes."""
        return self.loss(logits, labels).mean()

    def sums(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum of the losses of a batch, in double precision, and the number of its correct predictions."""
        loss = self.loss(logits.float(), labels).double().sum()
        return loss, loss.new_zeros(())

    @abstractmethod
    def losses(self, outputs: Outputs, labels: LabelRows) -> Doubles:
        """Return the same loss of each image (N,) from outputs."""

    @abstractmethod
    def metrics(self, outputs: Outputs, labels: LabelRows) -> Metrics:
        """Return all metrics of one split."""

    @abstractmethod
    def text(self, label: Any) -> str:
        """Return the label of one image as a table of images has it."""

    @abstractmethod
    def answer(self, outputs: npt.NDArray[np.float32]) -> Any:
        """Return the prediction for one image from its outputs."""

    def outputs_of(self, prediction: Any) -> npt.NDArray[np.float32]:
        """Return the outputs (K,) that `answer` made a prediction of."""
        found: npt.NDArray[np.float32] = prediction.probabilities
        return found

    @abstractmethod
    def check(self, labels: LabelRows, dataset: str) -> None:
        """Refuse training labels that nothing can be learnt from.

        Raises:
            TransferkitError: With the reason.
        """

    @abstractmethod
    def counts(self, labels: LabelRows) -> npt.NDArray[np.int64]:
        """Return the number of images of each name (K,); empty where names are values."""

    def strata(self, labels: LabelRows) -> npt.NDArray[np.int64]:
        """Return what splits and folds keep the shares of: a class for each image (N,), or several labels (N, T)."""
        return np.asarray(labels, dtype=np.int64)

    def scaled(self, labels: LabelRows) -> "Target":
        """Return the target with the scale of these training labels; the same where it has none."""
        return self

    def rank(self, outputs: Outputs, labels: LabelRows) -> tuple[float, float]:
        """Return accuracy and loss, by which models are chosen (`ranking.rank`); the accuracy is 0 where none counts.

        The loss alone chooses for all but classes: it is what is trained, and unlike ranks or thresholds it tells
        models apart on a few images.
        """
        return float(self.hits(outputs, labels).mean()), float(self.losses(outputs, labels).mean())

    def hits(self, outputs: Outputs, labels: LabelRows) -> Doubles:
        """Return which images count as correct, (N,) of 0 and 1; none where choices are by loss alone."""
        return np.zeros(len(labels))

    @abstractmethod
    def difference(self, one: Outputs, other: Outputs) -> float:
        """Return how much the predictions of two models for the same images differ.

        It is the share of the images, or of their labels, that they decide differently (0 to 1); of numbers the mean
        absolute difference, in the units of the table.
        """

    def translated(self, given: "Target", labels: LabelRows, dataset: str) -> LabelRows:
        """Return labels of another data set as labels of this target.

        Raises:
            TransferkitError: The data set has names that this target lacks, or is of another kind.
        """
        if given.kind != self.kind:
            raise TransferkitError(
                f"The model predicts {self.words()} (dataset.target={self.kind}), but dataset {dataset} has "
                f"{given.words()}: set dataset.target={self.kind}."
            )
        index = {name: i for i, name in enumerate(self.names)}
        if unknown := [name for name in given.names if name not in index]:
            what = "classes" if self.exclusive else "names"
            raise TransferkitError(
                f"{len(unknown)} {what} of dataset {dataset} are unknown to the model: {', '.join(unknown[:10])}. "
                f"Its {what} are {', '.join(self.names[:10])}{', ...' if len(self.names) > 10 else ''}."
            )
        return self.renumbered(labels, np.array([index[name] for name in given.names], dtype=np.int64), dataset)

    @abstractmethod
    def renumbered(self, labels: LabelRows, places: npt.NDArray[np.int64], dataset: str) -> LabelRows:
        """Return labels whose k-th name is this target's name number `places[k]`, as labels of this target."""

    def describe(self) -> dict[str, Any]:
        """Return the entry of the artifact, without the names."""
        return {"kind": self.kind}


def number(value: float) -> float | None:
    """Return a plain number, or None for nan, which JSON lacks."""
    return float(value) if np.isfinite(value) else None


def binary_losses(probabilities: npt.NDArray[Any], labels: LabelRows) -> Doubles:
    """Return the mean cross entropy of each row (N,) of probabilities (N, T) of labels (N, T) of 0 and 1."""
    chances = np.clip(np.asarray(probabilities, dtype=np.float64), SMALLEST, 1 - SMALLEST)
    found: Doubles = -np.where(labels == 1, np.log(chances), np.log1p(-chances)).mean(axis=1)
    return found
