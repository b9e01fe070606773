"""The result of every strategy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from transferkit.arrays import Labels, Probabilities
from transferkit.folds import Ints
from transferkit.models.transfer_model import TransferModel
from transferkit.targets.class_target import ClassTarget
from transferkit.targets.target import Metrics, Target


@dataclass(frozen=True)
class OutOfFold:
    """Predictions of models that were fitted without the image, one or more for each image of train and val.

    Attributes:
        probabilities: (M, K); outputs of another target than classes.
        labels: (M,), or (M, T).
        images: (M,) positions in train and val together, train first.
        target: Of the model; None for classes.
    """

    probabilities: Probabilities
    labels: Labels
    images: Ints
    target: Target | None = None

    @classmethod
    def of(
        cls, probabilities: Probabilities, images: Ints, labels: Labels, target: Target | None = None
    ) -> "OutOfFold":
        """The predictions of these images; labels (N,) or (N, T) of train and val."""
        return cls(probabilities, labels[images], images, target)

    def rows(self, start: int, end: int) -> Probabilities:
        """The mean probabilities (end - start, K) of these images; equal ones where there is no prediction.

        Of another target than classes the mean of all predictions stands where there is none.
        """
        found = np.zeros((end, self.probabilities.shape[1]))
        np.add.at(found, self.images, self.probabilities)
        times = np.bincount(self.images, minlength=end)
        found[times == 0] = 1 / found.shape[1] if self.target is None else self.probabilities.mean(axis=0)
        return (found / np.maximum(times, 1)[:, None]).astype(np.float32)[start:]

    def metrics(self) -> Metrics:
        """The metrics over all predictions; `n` is the number of images."""
        target = self.target or ClassTarget(())
        return {**target.metrics(self.probabilities, self.labels), "n": len(np.unique(self.images))}


@dataclass(frozen=True)
class Fitted:
    """A fitted model, with its validation results. No strategy uses test.

    Attributes:
        model: Ready to predict.
        val: Probabilities (N_val, K) of the selected model, before any refit that includes val; from folds, where these
            chose.
        trainable_parameters: Number of trained parameters.
        stages: Per probed stage, its results (`C`, `val_top1`, ...).
        sweep: Per probed stage, one row per value of C.
        history: One row per epoch of training: `phase`, `epoch` (counted from 1 in each phase), `lr`, `train_loss`,
            `val_loss`, `val_top1`.
        details: Further entries of metrics.json, plain values.
        out_of_fold: Where folds of train and val chose, their predictions; they replace those of val in the metrics.
        members: Where the mean of several models is selected, these models; `model` is then the first of them, and
            `val` and `out_of_fold` are predictions of the mean.
    """

    model: TransferModel
    val: Probabilities
    trainable_parameters: int
    stages: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sweep: Mapping[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)
    history: Sequence[Mapping[str, Any]] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    out_of_fold: OutOfFold | None = None
    members: "Sequence[FittedMember]" = ()

    def val_metrics(self, labels: Labels) -> Metrics:
        """The metrics of the data that chose: val, with these labels (N_val,), or out-of-fold predictions."""
        return self.model.target.metrics(self.val, labels) if self.out_of_fold is None else self.out_of_fold.metrics()


@dataclass(frozen=True)
class FittedMember:
    """One of several fitted models whose mean is selected.

    Attributes:
        strategy: The content of its YAML.
        share: Of the mean.
        fitted: The model.
    """

    strategy: Mapping[str, Any]
    share: float
    fitted: Fitted
