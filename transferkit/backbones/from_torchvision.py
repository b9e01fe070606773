"""Networks and weights of torchvision."""

from collections.abc import Mapping
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import torchvision
from torch import nn

from transferkit.backbones.download import fetch_url
from transferkit.backbones.original import Original, no_init
from transferkit.backbones.weights import read_state_dict
from transferkit.data.preprocess import Preprocessing
from transferkit.errors import TransferkitError, unknown_name

# Auxiliary classifiers are active in training only, and their outputs do not fit a sequence of stages.
_AUXILIARY = {"googlenet": ("aux1.", "aux2."), "inception_v3": ("AuxLogits.",)}
_FIXED = {name: {"aux_logits": False, "init_weights": True} for name in _AUXILIARY}  # the latter only stops a warning


@cache
def names() -> tuple[str, ...]:
    """The classification networks of torchvision."""
    return tuple(torchvision.models.list_models(module=torchvision.models))


def build(name: str, weights: str | Path | None, kwargs: Mapping[str, Any]) -> Original:
    """A network of torchvision.

    Args:
        name: As in `names()`.
        weights: "imagenet", a weight's name, a file, or None for random weights.
        kwargs: For the function that builds the network.

    Raises:
        TransferkitError: If the weights are unknown or unavailable, or the network refuses the keyword arguments.
    """
    entries = torchvision.models.get_model_weights(name)
    usual = next(iter(entries), None)
    if weights is None:
        return Original(_create(name, kwargs), preprocessing(usual))
    if isinstance(weights, Path):
        entry = next((entry for entry in entries if entry.url.endswith(f"/{weights.name}")), None)
        path, weights_name = weights, entry.name if entry is not None else weights.name
    else:
        entry = _entry(name, entries, weights)
        path, weights_name = fetch_url(entry.url, f"{name} ({entry.name})"), entry.name
    # These two were converted from TensorFlow, with another normalisation that the network itself applies.
    added = {"transform_input": True} if name in _AUXILIARY and entry is not None else {}
    state = read_state_dict(path)
    for key in [key for key in state if key.startswith(_AUXILIARY.get(name, ()))]:
        del state[key]
    return Original(
        model=_create(name, added | dict(kwargs), init=False),
        preprocess=preprocessing(entry or usual),
        weights_name=weights_name,
        state=state,
        origin=f"backbone.weights: {path}",
        kwargs=added,
    )


def _create(name: str, kwargs: Mapping[str, Any], init: bool = True) -> nn.Module:
    try:
        with nullcontext() if init else no_init():
            model: nn.Module = torchvision.models.get_model(name, weights=None, **_FIXED.get(name, {}) | dict(kwargs))
    except (TypeError, ValueError) as error:
        raise TransferkitError(f"backbone.kwargs: torchvision's {name} refuses {dict(kwargs)}: {error}.") from error
    return model


def _entry(name: str, entries: Any, weights: str) -> Any:
    """The weight that torchvision lists under this name."""
    if weights == "imagenet" and len(entries):
        return entries.DEFAULT
    if weights in entries.__members__:
        return entries[weights]
    valid = ["imagenet", *(entry.name for entry in entries)]
    message = unknown_name("backbone.weights", weights, valid, f"weight of {name} called")
    raise TransferkitError(f"{message} A file, a run directory or null is also possible.")


def preprocessing(entry: Any) -> Preprocessing:
    """The preprocessing of a weight's transform; the usual ImageNet one for None."""
    if entry is None:
        return Preprocessing()
    preset = entry.transforms()
    crop, resize = preset.crop_size[0], preset.resize_size[0]
    return Preprocessing(
        input_size=(crop, crop),
        resize_size=(resize, resize),
        interpolation=preset.interpolation.value,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        crop_pct=crop / resize,
    )
