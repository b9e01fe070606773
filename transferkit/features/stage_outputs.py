"""Activations of a frozen stage as rows: their computation, cost and cache key."""

import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from transferkit.arrays import Rows
from transferkit.backbones.backbone import Backbone
from transferkit.backbones.stage_sequence import State, feature
from transferkit.features.frozen_network import FrozenStages
from transferkit.features.keys import describe
from transferkit.features.stored_inputs import pack

SAMPLE = 8
"""Images that are computed to measure the time per image."""


class CutRows:
    """Activations of a frozen stage, as inputs of training.

    Args:
        backbone: The network.
        stage: A frozen stage, as are those before it. After the network's last one only the head follows: its
            activations are pooled, and stay in fp32.
        device: The device.
        precision: As `find_precision` returns it; the format of the rows.
    """

    def __init__(self, backbone: Backbone, stage: str, device: torch.device, precision: str) -> None:
        self.stage = stage
        self._pooled = stage == backbone.stage_names[-1]
        self.precision = "fp32" if self._pooled else precision
        self._size = backbone.preprocess.input_size
        self._network = FrozenStages(backbone.truncate(stage), device, precision)
        self._backbone, self._precision = backbone, precision

    def description(self, **more: Any) -> Mapping[str, Any]:
        """Everything that determines a row, except the image, in plain values."""
        layout = "fp32 (n, D)" if self._pooled else f"{self.precision} (n, H, W, C), bf16 as int16"
        pool = self._backbone.pool_name("auto") if self._pooled else "none"
        common = describe(self._backbone, [self.stage], pool, self._precision)
        return {**common[self.stage], "rows": layout, **more}

    def state(self, inputs: Tensor) -> State:
        """The output of the stage for inputs (n, 3, H, W), preprocessed or uint8."""
        state = self._network(inputs, [self.stage])[self.stage]
        return self._network.backbone.pooled(self.stage, feature(state).float()) if self._pooled else state

    def compute(self, inputs: Tensor) -> Rows:
        """Rows of inputs (n, 3, H, W)."""
        state = self.state(inputs)
        assert isinstance(state, Tensor)
        return pack(state, self.precision)

    def measure(self) -> tuple[int, float] | None:
        """Bytes of a row, and seconds to compute it; None where several tensors cross the cut."""
        inputs = torch.zeros(SAMPLE, 3, *self._size, dtype=torch.uint8)
        if not isinstance(self.state(inputs[:1]), Tensor):
            return None
        start = time.perf_counter()
        rows = self.compute(inputs)
        return rows.nbytes // SAMPLE, (time.perf_counter() - start) / SAMPLE
