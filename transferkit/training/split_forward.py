"""A model that runs in two parts: frozen leading stages without a gradient, then the others and the head."""

from collections.abc import Sequence

import torch
from torch import Tensor

from transferkit.backbones.stage_sequence import State, feature
from transferkit.features.frozen_network import FrozenStages
from transferkit.models.transfer_model import TransferModel


def logits_of_images(
    model: TransferModel, images: Tensor, frozen: Sequence[str], fast: FrozenStages | None = None
) -> Tensor:
    """Return logits (N, K).

    Args:
        model: The network.
        images: (N, 3, H, W): preprocessed, or uint8, resized and cropped only.
        frozen: Its leading stages that run without a gradient.
        fast: The optimized copy of these stages, if available.
    """
    backbone = model.backbone
    images = backbone.preprocess.finish(images).contiguous(memory_format=torch.channels_last)
    if not frozen:
        return classify(model, backbone(images))
    last = frozen[-1]
    if fast is not None:
        return classify(model, backbone.forward_from(last, fast(images, [last])[last]))
    with torch.no_grad():
        state = backbone.forward_stages(images, [last])[last]
    return classify(model, backbone.forward_from(last, state))


def logits_after(model: TransferModel, stage: str, inputs: Tensor) -> Tensor:
    """Return logits (N, K) of stored activations of a stage: maps (N, C, H, W), or pooled features of the top one."""
    if inputs.ndim == 4:
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    return classify(model, model.backbone.forward_from(stage, inputs))


def classify(model: TransferModel, state: State) -> Tensor:
    """Pool and classify in fp32, like features and probes."""
    pooled = model.backbone.pooled(model.backbone.top, feature(state).float(), model.pool)
    with torch.autocast(pooled.device.type, enabled=False):
        logits: Tensor = model.head(pooled)
    return logits
