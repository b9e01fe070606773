"""Frozen stages, optimized for inference."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from transferkit.backbones.backbone import Backbone
from transferkit.backbones.folded import fold_batch_norm
from transferkit.backbones.native_pool import own_pooling
from transferkit.backbones.stage_sequence import State
from transferkit.device import TYPES, autocast
from transferkit.features.keys import parameter_type


class FrozenStages:
    """Some leading stages, frozen: a copy with batch norm folded, channels last, in the given precision.

    Not a module, so that a module that holds it neither trains nor saves it.

    Attributes:
        backbone: The copy; its own pooling stays in fp32, as all pooling does.

    Args:
        backbone: Cut after the last stage needed; it is not changed.
        device: The device.
        precision: Of matrix products, as `find_precision` returns it.
    """

    def __init__(self, backbone: Backbone, device: torch.device, precision: str) -> None:
        self._preprocess = backbone.preprocess
        self._device = device
        self._precision = precision
        self._dtype = parameter_type(backbone)
        self.backbone = fold_batch_norm(backbone).to(device).to(memory_format=torch.channels_last)
        if precision != "fp32":
            # Once, what autocast would do in each pass: it keeps the casts of trained weights only.
            pooling = {id(module) for stage in self.backbone.stages.values() for module in own_pooling(stage)}
            for module in self.backbone.modules():
                if type(module) in (nn.Conv2d, nn.Linear) and id(module) not in pooling:
                    module.to(TYPES[precision])

    @torch.no_grad()
    def __call__(self, images: Tensor, stages: Sequence[str]) -> dict[str, State]:
        """The outputs of stages (in order), without a gradient.

        Args:
            images: (N, 3, H, W), preprocessed; or uint8, resized and cropped only.
            stages: Names.
        """
        images = images.to(self._device, memory_format=torch.channels_last)
        images = self._preprocess.finish(images)
        with autocast(self._precision, self._device):
            return self.backbone.states(images.to(self._dtype), stages)
