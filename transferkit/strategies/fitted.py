"""What every strategy returns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from transferkit.arrays import Probabilities
from transferkit.models.transfer_model import TransferModel


@dataclass(frozen=True)
class Fitted:
    """A fitted model, and what was seen on the way. No strategy looks at test.

    Attributes:
        model: Ready to predict.
        val: Probabilities (N_val, K) of the model as it was chosen, before anything of val was trained on.
        trainable_parameters: How many parameters were trained.
        stages: Per stage that was probed, its figures (`C`, `val_top1`, ...).
        sweep: Per stage that was probed, one row a value of C.
        history: One row an epoch of training: `phase`, `epoch` (counted from 1 in each phase), `lr`, `train_loss`,
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
