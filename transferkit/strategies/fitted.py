"""What every strategy returns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from transferkit.model import TransferModel

Probabilities = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Fitted:
    """A fitted model, and what was seen on the way. No strategy looks at test.

    Attributes:
        model: Ready to predict.
        val: Probabilities (N_val, K) of the model as it was chosen, before anything of val was trained on.
        trainable_parameters: How many parameters were trained.
        stages: Per stage that was probed, its figures (`C`, `val_top1`, ...).
        sweep: Per stage that was probed, one row a value of C.
    """

    model: TransferModel
    val: Probabilities
    trainable_parameters: int
    stages: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sweep: Mapping[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)
