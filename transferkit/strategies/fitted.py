"""The result of every strategy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from transferkit.arrays import Probabilities
from transferkit.models.transfer_model import TransferModel


@dataclass(frozen=True)
class Fitted:
    """A fitted model, with its validation results. No strategy uses test.

    Attributes:
        model: Ready to predict.
        val: Probabilities (N_val, K) of the selected model, before any refit that includes val.
        trainable_parameters: Number of trained parameters.
        stages: Per probed stage, its results (`C`, `val_top1`, ...).
        sweep: Per probed stage, one row per value of C.
        history: One row per epoch of training: `phase`, `epoch` (counted from 1 in each phase), `lr`, `train_loss`,
            `val_loss`, `val_top1`.
        details: Further entries of metrics.json, plain values.
    """

    model: TransferModel
    val: Probabilities
    trainable_parameters: int
    stages: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sweep: Mapping[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)
    history: Sequence[Mapping[str, Any]] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
