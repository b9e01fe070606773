"""Heat maps: the parts of an image that raised the score of the predicted class, or that attention comes from."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from transferkit.data.imageset import ImageSet
from transferkit.errors import TransferkitError
from transferkit.models.transfer_model import TransferModel
from transferkit.report.attention import attention_layers, roll_out
from transferkit.report.examples import data_uri
from transferkit.report.facts import plural

SMALLEST_MAP = 4
"""Fewest rows and columns of a feature map that tell places apart."""
DARKEST = 0.25
SIDE = 256

GRAD_CAM, ROLL_OUT = "Grad-CAM", "attention roll-out"

NEED = "Heat maps need captum: python -m pip install 'transferkit[explain]'"
HOW_TO_GET = f"{NEED}, then fit again."


def heat_map_method(model: TransferModel) -> str:
    """Return the method that fits the network: Grad-CAM on a feature map, roll-out on tokens, or nothing."""
    if not isinstance(model.head, nn.Linear) or len(model.stages) != 1 or model.stages[0] not in model.backbone.stages:
        return ""
    if _places(model) < SMALLEST_MAP:
        return ""
    if model.backbone.info(model.stages[0]).kind == "map":
        return GRAD_CAM
    return ROLL_OUT if attention_layers(model) else ""


def heat_text(method: str, predicted: str) -> str:
    """Return what is bright in a heat map of an image of which this class was predicted."""
    return "where attention comes from" if method == ROLL_OUT else f"what raises the score of {predicted}"


def _places(model: TransferModel) -> int:
    """The rows or columns, whichever are fewer, of the last feature map; 0 where it has none."""
    info = model.backbone.info(model.stages[-1])
    if info.kind == "map":
        return min(model.preprocess.input_size) // info.stride
    return min(info.grid) if info.kind == "tokens" and info.grid else 0


def why_none(model: TransferModel) -> str | None:
    """Return why there can be no heat maps, for the report; nothing where the network has no fitting feature map."""
    method = heat_map_method(model)
    if not method:
        return ""
    try:
        if method == GRAD_CAM:
            import captum.attr  # noqa: F401
    except ImportError:
        return HOW_TO_GET
    return None


def why_not(model: TransferModel) -> str | None:
    """Return in a sentence why a network has no heat maps; None where it has."""
    told = why_none(model)
    if told is None:
        return None
    if told:
        return f"{NEED}."
    if not isinstance(model.head, nn.Linear) or len(model.stages) != 1:
        return "No heat map: it needs a linear head on one stage."
    places = _places(model)
    if places and places < SMALLEST_MAP:
        return (
            f"No heat map: the feature map of {model.stages[0]} has {plural(places, 'row')} of places, "
            f"fewer than the {SMALLEST_MAP} that tell parts of a picture apart."
        )
    return f"No heat map: {model.stages[0]} of {model.backbone.spec.name} has no feature map and shows no attention."


def heat_maps(model: TransferModel, images: ImageSet, indices: Sequence[int]) -> Iterator[tuple[int, str]]:
    """Yield (index, `data:` URI) of images as the network sees them, dark where the heat is low.

    Source: Selvaraju et al. 2017, Grad-CAM, section 3, of the stage that the head is on; `captum.attr.LayerGradCam`. Of
    networks of tokens `attention.roll_out`.

    Args:
        model: One without a reason in `why_none`.
        images: The set that `indices` refer to; an image that cannot be read is left out.
        indices: Of the images to explain, one at a time.
    """
    training = model.training
    model.eval()
    compute = _grad_cam if heat_map_method(model) == GRAD_CAM else roll_out
    device = next(model.parameters()).device
    for index in indices:
        try:
            inputs = model.preprocess(images.image(index))[None].to(device)
        except (TransferkitError, OSError, MemoryError):
            continue
        found = compute(model, inputs)
        if found is not None:
            size = (inputs.shape[2], inputs.shape[3])
            large = nn.functional.interpolate(found[None, None], size, mode="bilinear")
            yield index, _spotlight(model, inputs[0].cpu(), large[0, 0].cpu().numpy())
    model.train(training)


def _grad_cam(model: TransferModel, inputs: Tensor) -> Tensor:
    """How much each place of the feature map (h, w) raises the score of the predicted class."""
    from captum.attr import LayerGradCam

    explain = LayerGradCam(model, model.backbone.stages[model.stages[0]])
    with torch.no_grad():
        predicted = int(model(inputs).argmax())
    found: Any = explain.attribute(inputs, target=predicted, relu_attributions=True)
    heat: Tensor = found[0, 0].detach()
    return heat


def _spotlight(model: TransferModel, inputs: Tensor, heat: np.ndarray[Any, Any]) -> str:
    """Draw an input (3, H, W) with the heat (H, W) as its brightness."""
    pixels = model.preprocess.denormalize(inputs).permute(1, 2, 0).numpy()
    share = heat / heat.max() if heat.max() > 0 else np.zeros_like(heat)
    lit = pixels * (DARKEST + (1 - DARKEST) * share[..., None])
    picture = Image.fromarray(lit.round().clip(0, 255).astype(np.uint8))
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return data_uri(picture, "JPEG", quality=75, optimize=True)
