"""Networks and weights of timm."""

import inspect
import logging
import sys
from collections import OrderedDict
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import timm
import timm.data
import torch
from timm.models import group_parameters
from timm.models.vgg import VGG, ConvMlp
from torch import Tensor, nn

from transferkit.backbones.download import fetch_hub, fetch_url, url_path
from transferkit.backbones.original import Original, no_init, refused_size
from transferkit.backbones.packaged_weights import PACKAGES, read_packaged
from transferkit.backbones.weights import read_state_dict
from transferkit.data.preprocess import Preprocessing, resize_for
from transferkit.errors import TransferkitError, WeightsUnavailable, unknown_name

logger = logging.getLogger(__name__)


@cache
def names() -> tuple[str, ...]:
    """The architectures of timm."""
    return tuple(timm.list_models())


def build(name: str, weights: str | Path | None, kwargs: Mapping[str, Any]) -> Original:
    """A network of timm.

    Args:
        name: An architecture, with or without ".tag".
        weights: "imagenet" (the tag in the name, else the default one), a tag, a package of `PACKAGES`, a file, or None
            for random weights.
        kwargs: For `timm.create_model`.

    Raises:
        TransferkitError: If the weights are unknown or unavailable, or the network refuses the keyword arguments.
    """
    architecture, _, tag = name.partition(".")
    packaged = isinstance(weights, str) and weights in PACKAGES
    if isinstance(weights, str) and weights != "imagenet" and not packaged:
        tag = weights
    name = _with_tag(architecture, tag)
    if isinstance(weights, str) and not packaged:
        return _named(name, kwargs)
    if weights is None:
        model = _create(name, kwargs)
        return _original(model, kwargs)
    with no_init():
        model = _create(name, kwargs)
    if isinstance(weights, str):
        state = read_packaged(weights, architecture, model.state_dict())
    else:
        state = _converted(read_state_dict(weights), model)
    return _original(
        model,
        kwargs,
        weights_name=Path(weights).name,
        state=state,
        origin=f"backbone.weights: {weights}",
        classes=_classes(model) if packaged else (),
    )


def _original(model: nn.Module, kwargs: Mapping[str, Any], **more: Any) -> Original:
    return Original(_open_mlp(model), _preprocessing(model, kwargs), depths=layer_depths(model), **more)


def layer_depths(model: nn.Module) -> dict[str, int]:
    """Parameter to the number of layers above it, as in timm's `param_groups_layer_decay`; the classifier's have 0.

    Empty for the few networks without `group_matcher`.
    """
    if not hasattr(model, "group_matcher"):
        return {}
    named = list(model.named_parameters())
    classifier: Any = (getattr(model, "pretrained_cfg", None) or {}).get("classifier") or "head"
    first = classifier if isinstance(classifier, str) else classifier[0]
    if not any(name.startswith(f"{first}.") for name, _ in named):  # num_classes=0: here another one comes on top
        named.append((f"{first}.weight", nn.Parameter(torch.empty(0))))
    with_head: Any = SimpleNamespace(named_parameters=lambda: iter(named))
    layers: dict[str, int] = group_parameters(with_head, model.group_matcher(coarse=False), reverse=True)  # type: ignore[operator]
    return {name: max(layers.values()) - layer for name, layer in layers.items()}


def for_size(name: str, kwargs: Mapping[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    """The keyword arguments that build a network for images of another height and width than it is made for.

    Only networks whose parameters belong to one size (position embeddings) need any; timm resamples their weights.

    Raises:
        TransferkitError: If the network cannot be built for this size.
    """
    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    if config is None or not config.fixed_input_size or "img_size" in kwargs or size == tuple(config.input_size[1:]):
        return dict(kwargs)
    sized = {**kwargs, "img_size": list(size)}
    try:
        with no_init():
            _check_patches(timm.create_model(name, **_usable(sized)), size)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise refused_size(name, size, config.input_size[1:], str(error) or type(error).__name__) from error
    return sized


def _check_patches(model: nn.Module, size: tuple[int, int]) -> None:
    """Raise a `ValueError` if a network's patches would leave out pixels at the border, as timm lets them."""
    patch = getattr(getattr(model, "patch_embed", None), "patch_size", None)
    if isinstance(patch, tuple) and any(side % width for side, width in zip(size, patch, strict=True)):
        raise ValueError(f"no multiple of its patches of {patch[0]} x {patch[1]}")


def _usable(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments as timm wants them: sizes as tuples, which JSON and YAML have not."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in kwargs.items()}


def preprocessing(pretrained_cfg: dict[str, Any]) -> Preprocessing:
    """The preprocessing of timm's evaluation transform, from a pretrained configuration."""
    config = timm.data.resolve_data_config(pretrained_cfg=pretrained_cfg)
    size = (config["input_size"][1], config["input_size"][2])
    return Preprocessing(
        input_size=size,
        resize_size=resize_for(size, config["crop_pct"]),
        interpolation=config["interpolation"],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        crop_pct=config["crop_pct"],
        crop_mode=config["crop_mode"],
    )


def _preprocessing(model: nn.Module, kwargs: Mapping[str, Any]) -> Preprocessing:
    """Of the weights, at the size that the network was built for."""
    config: Any = model.pretrained_cfg
    return preprocessing(dict(config)).override(input_size=kwargs.get("img_size"))


def _create(name: str, kwargs: Mapping[str, Any], **more: Any) -> nn.Module:
    try:
        model: nn.Module = timm.create_model(name, **more, **_usable(kwargs))
    except (TypeError, ValueError, AssertionError) as error:
        raise TransferkitError(f"backbone.kwargs: timm's {name} refuses {dict(kwargs)}: {error}.") from error
    return model


def _with_tag(architecture: str, tag: str) -> str:
    if not tag:
        return architecture
    tags = [name.partition(".")[2] for name in timm.list_models(f"{architecture}.*", pretrained=True)]
    if tag not in tags:
        message = unknown_name("backbone.weights", tag, ["imagenet", *tags], f"weight of {architecture} called")
        raise TransferkitError(f"{message} A file, a run directory or null is also possible.")
    return f"{architecture}.{tag}"


def _named(name: str, kwargs: Mapping[str, Any]) -> Original:
    """Weights that timm lists (the default ones for a name without a tag); timm converts and loads them."""
    config = timm.get_pretrained_cfg(name)
    if not config.has_weights:
        raise WeightsUnavailable(f"backbone.weights: timm has no weights for {name}; use a file or null.")
    path = _fetch(config, name)
    overlay = {"state_dict": read_state_dict(path)}
    try:
        model = _create(name, kwargs, pretrained=True, pretrained_cfg_overlay=overlay)
    except RuntimeError as error:
        raise TransferkitError(f"backbone.weights: {path} does not fit timm's {name}: {error}") from error
    if kwargs.get("num_classes", config.num_classes) != config.num_classes:
        logger.warning("backbone.weights: %s: skipped %s, made for another number of classes", path, config.classifier)
    return _original(model, kwargs, weights_name=config.tag or name, classes=_classes(model))


def _classes(model: Any) -> tuple[str, ...]:
    """The names of ImageNet-1k's classes, if those are the outputs of the classifier that the weights have."""
    config = model.pretrained_cfg
    if not config.get("classifier") or model.num_classes != config["num_classes"] or model.num_classes != 1000:
        return ()
    info = timm.data.ImageNetInfo("imagenet-1k")
    return tuple(info.index_to_description(index) for index in range(info.num_classes()))


def _fetch(config: Any, name: str) -> Path:
    if config.url and url_path(config.url).is_file():
        return url_path(config.url)
    if config.hf_hub_id:
        filenames = [config.hf_hub_filename] if config.hf_hub_filename else ["model.safetensors", "pytorch_model.bin"]
        return fetch_hub(config.hf_hub_id, filenames, name)
    return fetch_url(config.url, name)


def _converted(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """A state dict with the names of timm's network, converted from other projects' names if necessary."""
    if set(state) == set(own := model.state_dict()) and not any(
        state[name].shape != own[name].shape for name in own if "pos_embed" in name or "rel" in name
    ):
        return state
    family = sys.modules[type(model).__module__]
    convert = getattr(family, "checkpoint_filter_fn", None) or getattr(family, "_filter_fn", None)
    if convert is None:
        return state
    takes_model = len(inspect.signature(convert).parameters) > 1
    try:
        converted: dict[str, Tensor] = convert(dict(state), model) if takes_model else convert(dict(state))
    except Exception:  # not a converter for this file: the error that lists the keys is more informative
        return state
    return converted


class _AtLeast(nn.Module):
    """Pools a map smaller than the following kernel to the kernel's size."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        size = (max(self.size, x.shape[-2]), max(self.size, x.shape[-1]))
        return x if size == x.shape[-2:] else nn.functional.adaptive_avg_pool2d(x, size)


def _open_mlp(model: nn.Module) -> nn.Module:
    """Replace VGG's fc6 and fc7, whose `forward` depends on the input's size, by a sequence that can be cut."""
    if isinstance(model, VGG) and isinstance(model.pre_logits, ConvMlp):
        enough = _AtLeast(model.pre_logits.input_kernel_size)
        model.pre_logits = nn.Sequential(OrderedDict(enough=enough, **dict(model.pre_logits.named_children())))
    return model
