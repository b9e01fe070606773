"""Heat maps of mistakes: the parts of an image that raised the score of the predicted class; by captum."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from transferkit.data.imageset import ImageSet
from transferkit.errors import TransferkitError
from transferkit.models.transfer_model import TransferModel
from transferkit.report.examples import data_uri

SMALLEST_MAP = 4
"""Fewest rows and columns of a feature map that tell places apart."""
DARKEST = 0.25
SIDE = 256

HOW_TO_GET = "Heat maps of mistakes need captum: python -m pip install 'transferkit[explain]', then fit again."


def why_none(model: TransferModel) -> str | None:
    """Return why there can be no heat maps, for the report; nothing where the network has no fitting feature map."""
    if not _has_a_map(model):
        return ""
    try:
        import captum.attr  # noqa: F401
    except ImportError:
        return HOW_TO_GET
    return None


def _has_a_map(model: TransferModel) -> bool:
    """Whether a linear head is on one feature map with enough rows and columns."""
    if not isinstance(model.head, nn.Linear) or len(model.stages) != 1 or model.stages[0] not in model.backbone.stages:
        return False
    info = model.backbone.info(model.stages[0])
    return info.kind == "map" and min(model.preprocess.input_size) // info.stride >= SMALLEST_MAP


def heat_maps(model: TransferModel, images: ImageSet, indices: Sequence[int]) -> Iterator[tuple[int, str]]:
    """Yield (index, `data:` URI) of images as the network sees them, darkened where they did not raise the score.

    Source: Selvaraju et al. 2017, Grad-CAM, section 3, of the stage that the head is on; `captum.attr.LayerGradCam`.

    Args:
        model: One without a reason in `why_none`.
        images: The set that `indices` refer to; an image that cannot be read is left out.
        indices: Of the images to explain, one at a time.
    """
    from captum.attr import LayerAttribution, LayerGradCam

    training = model.training
    model.eval()
    explain = LayerGradCam(model, model.backbone.stages[model.stages[0]])
    device = next(model.parameters()).device
    for index in indices:
        try:
            inputs = model.preprocess(images.image(index))[None].to(device)
        except (TransferkitError, OSError, MemoryError):
            continue
        with torch.no_grad():
            predicted = int(model(inputs).argmax())
        found: Any = explain.attribute(inputs, target=predicted, relu_attributions=True)
        large = LayerAttribution.interpolate(found, tuple(inputs.shape[2:]), interpolate_mode="bilinear")
        yield index, _spotlight(model, inputs[0].cpu(), large[0, 0].detach().cpu().numpy())
    model.train(training)


def _spotlight(model: TransferModel, inputs: torch.Tensor, heat: np.ndarray[Any, Any]) -> str:
    """Draw an input (3, H, W) with the heat (H, W) as its brightness."""
    pixels = model.preprocess.denormalize(inputs).permute(1, 2, 0).numpy()
    share = heat / heat.max() if heat.max() > 0 else np.zeros_like(heat)
    lit = pixels * (DARKEST + (1 - DARKEST) * share[..., None])
    picture = Image.fromarray(lit.round().clip(0, 255).astype(np.uint8))
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return data_uri(picture, "JPEG", quality=75, optimize=True)
