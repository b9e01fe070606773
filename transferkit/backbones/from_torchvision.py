"""Networks and weights of torchvision."""

from collections import OrderedDict
from collections.abc import Mapping
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import torchvision
from torch import Tensor, nn
from torchvision.models.vision_transformer import interpolate_embeddings

from transferkit.backbones.download import fetch_url
from transferkit.backbones.original import Original, no_init, refused_size
from transferkit.backbones.weights import read_state_dict
from transferkit.data.preprocess import Preprocessing
from transferkit.errors import TransferkitError, unknown_name

# Auxiliary classifiers are active in training only, and are no stage: training.auxiliary makes GoogLeNet's.
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
    if kwargs.get("aux_logits") and name != "googlenet":
        raise TransferkitError(f"backbone.kwargs: aux_logits is possible for googlenet, not for {name}.")
    entries = torchvision.models.get_model_weights(name)
    usual = next(iter(entries), None)
    if weights is None:
        return Original(_create(name, kwargs), _preprocessing(name, usual, kwargs))
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
    if _size_key(name) == "image_size" and entry is not None:
        added |= {"image_size": entry.meta["min_size"][0]}  # 384 and 512 for the SWAG weights
    model = _create(name, added | dict(kwargs), init=False)
    return Original(
        model=model,
        preprocess=_preprocessing(name, entry or usual, kwargs),
        weights_name=weights_name,
        state=_resampled(name, model, state),
        origin=f"backbone.weights: {path}",
        kwargs={key: value for key, value in added.items() if key not in kwargs},
        classes=entry.meta["categories"] if entry is not None and "num_classes" not in kwargs else (),
    )


def for_size(name: str, kwargs: Mapping[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    """The keyword arguments that build a network for images of another size; its position embeddings are resampled.

    Raises:
        TransferkitError: If the network cannot be built for this size.
    """
    key = _size_key(name)
    if key is None or key in kwargs or size == (224, 224):
        return dict(kwargs)
    value = size[0] if key == "image_size" else size
    try:
        if size[0] != size[1] and key == "image_size":
            raise ValueError("torchvision's position embeddings are square; timm's networks take both sides")
        with no_init():
            torchvision.models.get_model(name, weights=None, **{**kwargs, key: value})
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise refused_size(name, size, (224, 224), str(error)) from error
    return {**kwargs, key: value if isinstance(value, int) else list(value)}


def _size_key(name: str) -> str | None:
    """The argument that says for which size a network is built; most are built for all."""
    return "image_size" if name.startswith("vit_") else "input_size" if name.startswith("maxvit") else None


def _resampled(name: str, model: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights, with the position embeddings of a ViT at the size that the network is built for."""
    embedding = state.get("encoder.pos_embedding")
    if not name.startswith("vit_") or embedding is None:
        return state
    vit: Any = model
    resampled = interpolate_embeddings(vit.image_size, vit.patch_size, OrderedDict(state))
    return dict(resampled)


def _create(name: str, kwargs: Mapping[str, Any], init: bool = True) -> nn.Module:
    try:
        with nullcontext() if init else no_init():
            arguments = dict(kwargs) | _FIXED.get(name, {})
            if isinstance(arguments.get("input_size"), list):  # JSON and YAML have no tuples
                arguments["input_size"] = tuple(arguments["input_size"])
            model: nn.Module = torchvision.models.get_model(name, weights=None, **arguments)
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


def _preprocessing(name: str, entry: Any, kwargs: Mapping[str, Any]) -> Preprocessing:
    """Of the weights, at the size that the network was built for."""
    return preprocessing(entry).override(input_size=kwargs.get(_size_key(name) or ""))


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
