"""A model that runs in two parts: frozen leading stages without a gradient, then the others and the head."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from transferkit.backbones.stage_sequence import State, feature
from transferkit.features.frozen_network import FrozenStages
from transferkit.models.transfer_model import TransferModel


def logits_of_images(
    model: TransferModel, images: Tensor, frozen: Sequence[str], fast: FrozenStages | None = None, dropout: float = 0.0
) -> Tensor:
    """Return logits (N, K).

    Args:
        model: The network.
        images: (N, 3, H, W): preprocessed, or uint8, resized and cropped only.
        frozen: Its leading stages that run without a gradient.
        fast: The optimized copy of these stages, if available.
        dropout: Share of the head's inputs that are left out.
    """
    backbone = model.backbone
    images = backbone.preprocess.finish(images).contiguous(memory_format=torch.channels_last)
    if not frozen:
        return classify(model, backbone(images), dropout)
    last = frozen[-1]
    if fast is not None:
        return classify(model, backbone.forward_from(last, fast(images, [last])[last]), dropout)
    with torch.no_grad():
        state = backbone.forward_stages(images, [last])[last]
    return classify(model, backbone.forward_from(last, state), dropout)


def logits_after(model: TransferModel, stage: str, inputs: Tensor, dropout: float = 0.0) -> Tensor:
    """Return logits (N, K) of stored activations of a stage: maps (N, C, H, W), or pooled features of the top one."""
    if inputs.ndim == 4:
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    return classify(model, model.backbone.forward_from(stage, inputs), dropout)


def classify(model: TransferModel, state: State, dropout: float = 0.0) -> Tensor:
    """Pool and classify in fp32, like features and probes.

    Dropout is inverted: what it leaves is divided by the share that is left, so that without it nothing is scaled.
    """
    pooled = model.backbone.pooled(model.backbone.top, feature(state).float(), model.pool)
    if dropout:
        pooled = F.dropout(pooled, dropout)
    with torch.autocast(pooled.device.type, enabled=False):
        logits: Tensor = model.head(pooled)
    return logits
