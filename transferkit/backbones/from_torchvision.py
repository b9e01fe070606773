"""Networks and weights of torchvision."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torchvision

from transferkit.backbones.download import fetch_url
from transferkit.backbones.original import Original
from transferkit.backbones.weights import read_state_dict
from transferkit.errors import TransferkitError
from transferkit.preprocess import Preprocessing
from transferkit.stage import unknown_name

# Auxiliary classifiers work in training only, and their outputs have no place in a sequence of stages.
_NO_AUXILIARY = {"googlenet": ("aux1.", "aux2."), "inception_v3": ("AuxLogits.",)}
_INITIALISES = ("vgg", "googlenet", "inception")


@cache
def names() -> tuple[str, ...]:
    """The classification networks of torchvision."""
    return tuple(torchvision.models.list_models(module=torchvision.models))


def build(name: str, weights: str | Path | None, kwargs: Mapping[str, Any]) -> Original:
    """A network of torchvision.

    Args:
        name: As in `names()`.
        weights: "imagenet", a weight's name, a file, or None for random weights.
        kwargs: For the network.

    Raises:
        TransferkitError: If the weights are unknown or cannot be had, or the network refuses the keyword arguments.
    """
    entries = torchvision.models.get_model_weights(name)
    entry = _entry(name, entries, weights)
    added: dict[str, Any] = {}
    if name in _NO_AUXILIARY and entry is not None:
        added["transform_input"] = True  # the weights come from a TensorFlow model with another normalisation
    state = None
    if weights is not None:
        path = weights if isinstance(weights, Path) else fetch_url(entry.url, f"{name} ({entry.name})")
        state = read_state_dict(path)
        state = {key: value for key, value in state.items() if not key.startswith(_NO_AUXILIARY.get(name, ()) or "\0")}
    fixed: dict[str, Any] = {"aux_logits": False} if name in _NO_AUXILIARY else {}
    if name.startswith(_INITIALISES):
        fixed["init_weights"] = weights is None  # slow, and for nothing where weights follow
    try:
        model = torchvision.models.get_model(name, weights=None, **fixed | added | dict(kwargs))
    except (TypeError, ValueError) as error:
        raise TransferkitError(f"backbone.kwargs: torchvision's {name} refuses {dict(kwargs)}: {error}.") from error
    return Original(
        model=model,
        preprocess=_preprocessing(entry or next(iter(entries), None)),
        weights_name=entry.name if entry is not None else path.name if state is not None else "random",
        state=state,
        origin=f"backbone.weights: {path}" if state is not None else "",
        kwargs=added,
    )


def _entry(name: str, entries: Any, weights: str | Path | None) -> Any:
    """The weight that torchvision knows under this name, or under this file name; None for others and for random."""
    if weights is None:
        return None
    if isinstance(weights, Path):
        return next((entry for entry in entries if entry.url.endswith(f"/{weights.name}")), None)
    if weights == "imagenet" and len(entries):
        return entries.DEFAULT
    if weights in entries.__members__:
        return entries[weights]
    message = unknown_name(
        "backbone.weights", weights, ["imagenet", *(entry.name for entry in entries)], f"weight of {name}"
    )
    raise TransferkitError(f"{message} A file, a run directory or null will do as well.")


def _preprocessing(entry: Any) -> Preprocessing:
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
