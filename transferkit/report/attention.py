"""Attention roll-out: how much each place of an image reaches the tokens that a transformer's head is on."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from transferkit.models.transfer_model import TransferModel

FROM_CLASS_TOKEN = "cls"
"""The pooling that takes the first token; others take the mean over the tokens of the grid."""


def attention_layers(model: TransferModel) -> list[nn.Module]:
    """Return the attention of the blocks of a network of tokens; empty where it cannot be looked at.

    It can where every layer computes a softmax that passes through its `attn_drop` once `fused_attn` is off, as timm's
    ViT, DeiT, DINO, BEiT, CLIP and EVA do.
    """
    stage = model.stages[-1]
    if len(model.stages) != 1 or stage not in model.backbone.stages or model.backbone.info(stage).kind != "tokens":
        return []
    found = [module for module in model.backbone.modules() if isinstance(getattr(module, "attn_drop", None), nn.Module)]
    return found if all(hasattr(layer, "fused_attn") for layer in found) else []


@torch.no_grad()
def roll_out(model: TransferModel, inputs: Tensor) -> Tensor | None:
    """Return the share of each place of the grid (rows, columns) in the tokens that the head takes.

    Source: Abnar & Zuidema 2020, Quantifying Attention Flow in Transformers, section 3: the mean over the heads of each
    layer, half of it the residual connection, multiplied over the layers.

    Args:
        model: In eval mode, with `attention_layers`.
        inputs: One preprocessed image (1, 3, H, W).

    Returns:
        None where a layer does not attend from all tokens to all (windows, tokens that are pooled).
    """
    with _attention(attention_layers(model)) as seen:
        model.features(inputs)
    info = model.backbone.info(model.stages[-1])
    rows, columns = info.grid or (0, 0)
    tokens = info.prefix_tokens + rows * columns
    if not seen or any(one.shape[-2:] != (tokens, tokens) or len(one) != 1 for one in seen):
        return None
    own = torch.eye(tokens, device=inputs.device)
    flow = own
    for one in seen:
        flow = (0.5 * one[0].float().mean(dim=0) + 0.5 * own) @ flow
    taken = flow[0] if model.pool == FROM_CLASS_TOKEN else flow[info.prefix_tokens :].mean(dim=0)
    return taken[info.prefix_tokens :].reshape(rows, columns)


@contextmanager
def _attention(layers: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """Collect the attention (N, heads, T, T) of the layers in the order in which they run."""
    seen: list[Tensor] = []
    fused = [layer.fused_attn for layer in layers]
    hooks = [
        layer.get_submodule("attn_drop").register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        for layer in layers
    ]
    try:
        for layer in layers:
            layer.fused_attn = False  # type: ignore[assignment]
        yield seen
    finally:
        for layer, before, hook in zip(layers, fused, hooks, strict=True):
            layer.fused_attn = before
            hook.remove()
