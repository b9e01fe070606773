"""Creating a backbone by name."""

import math
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from transferkit.artifact import METADATA_FILE, Artifact, is_artifact, open_artifact
from transferkit.backbones import from_embedded
from transferkit.backbones.backbone import Backbone
from transferkit.backbones.cut import cut
from transferkit.backbones.original import check_kwargs, no_init
from transferkit.backbones.packaged_weights import PACKAGES
from transferkit.backbones.stage_sequence import BackboneSpec
from transferkit.backbones.weights import SUFFIXES
from transferkit.choices import SOURCES
from transferkit.config.schema import check_group
from transferkit.data.preprocess import Preprocessing
from transferkit.errors import TransferkitError, unknown_name

BEYOND_THE_FILE = 500_000_000
"""Values (2 GB) that a network may have and a file lacks, since it ends with an early stage; VGG has 140 million."""


def create_backbone(
    name: str,
    weights: str | Path | None = "imagenet",
    source: str = "auto",
    *,
    kwargs: Mapping[str, Any] | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    input_size: int | Sequence[int] | None = None,
    interpolation: str | None = None,
    crop_pct: float | None = None,
) -> Backbone:
    """Build a network, load its weights and cut it into stages; in eval mode, on the CPU.

    Args:
        name: The network, as its source calls it ("resnet50", "convnext_tiny").
        weights: "imagenet" (the source's default), a weight's name of that source ("IMAGENET1K_V1", "a1_in1k"), a file
            (.safetensors, or .pth with nothing but tensors), a run directory, the name of embedded weights or of a
            Python package of weights (`packaged_weights.PACKAGES`), or None for random ones.
        source: "embedded", "classic", "torchvision", "timm", or "auto" for the first of them that has it.
        kwargs: For the function that builds the network.
        mean: Overrides the value of the weights, as do all following arguments (`Preprocessing.override`).
        std: Per channel.
        input_size: In pixels.
        interpolation: Its name.
        crop_pct: In (0, 1].

    Raises:
        TransferkitError: A name is unknown, the network cannot be cut, or the weights are unavailable or do not match.
    """
    kwargs = dict(kwargs or {})
    check_kwargs(kwargs)
    source = _source(source, name)
    found = _locate(name, weights)
    run = open_artifact(found) if isinstance(found, Path) and found.is_dir() else None
    if run is not None:
        kwargs = _same_architecture(run, source, name, kwargs)
        _check_architecture(run, source, name, kwargs)
    elif input_size is not None:
        size = Preprocessing().override(input_size=input_size).input_size
        kwargs = dict(_module(source).for_size(name, kwargs, size))
    original = _module(source).build(name, None if run is not None else found, kwargs)
    stages, infos = cut(original.model, original.preprocess.input_size, f"{name} ({source})")
    spec = BackboneSpec(source, name, kwargs | dict(original.kwargs))
    backbone = Backbone(stages, infos, original.preprocess, spec, original.weights_name)
    backbone.classes = tuple(original.classes)
    backbone.depths = original.depths
    if run is not None:
        backbone = _load_run(backbone, run)
    elif original.state is not None:
        backbone.load_original_state_dict(original.state, original.origin)
    backbone.preprocess = backbone.preprocess.override(mean, std, input_size, interpolation, crop_pct)
    return backbone.eval()


def create_backbone_from_config(config: Mapping[str, Any]) -> Backbone:
    """The backbone that a `backbone` group describes: the arguments of `create_backbone` as plain values.

    Raises:
        TransferkitError: As `create_backbone`, and for an unknown or missing key.
    """
    return create_backbone(**check_group("backbone", config))


def _source(source: str, name: str) -> str:
    """The source of the network."""
    if source != "auto" and source not in SOURCES:
        raise TransferkitError(unknown_name("backbone.source", source, ["auto", *SOURCES], "source"))
    searched = list(SOURCES) if source == "auto" else [source]
    known: dict[str, tuple[str, ...]] = {}
    for place in searched:
        known[place] = _module(place).names()
        if name in known[place] or (place == "timm" and name.partition(".")[0] in known[place]):
            return place
    everything = list(dict.fromkeys(known_name for place in searched for known_name in known[place]))
    kind = f"network of {', '.join(searched)} called"
    raise TransferkitError(unknown_name("backbone.name", name, everything, kind))


def network_source(source: str, name: str) -> tuple[str, Any]:
    """The source of a network, and its module with `names()`, `build(name, weights, kwargs)` and `for_size`.

    Raises:
        TransferkitError: The source is unknown, or has no such network.
    """
    found = _source(source, name)
    return found, _module(found)


def _module(source: str) -> Any:
    """Its `names()` and `build(name, weights, kwargs)`; imported when it is needed, since timm takes a second."""
    return import_module(f"transferkit.backbones.from_{source}")


def _locate(name: str, weights: str | Path | None) -> str | Path | None:
    """A file, a run directory, a weight's name, or None for random."""
    if weights is None or weights == "imagenet" or weights in PACKAGES:  # a folder may be called so, too
        return weights
    path = Path(weights).expanduser()
    if path.is_file() or is_artifact(path):
        return path
    shipped = from_embedded.FOLDER / (name if str(weights) == "embedded" else str(weights))
    if is_artifact(shipped):
        return shipped
    if path.is_dir():
        raise TransferkitError(f"backbone.weights: the folder {path.absolute()} is no run directory (no model.json).")
    if isinstance(weights, Path) or path.suffix in SUFFIXES or "/" in weights:
        raise TransferkitError(f"backbone.weights: there is no file or run directory {path.absolute()}.")
    return weights


def _same_architecture(run: Artifact, source: str, name: str, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of the network in a run directory, once it is clear that it is the wanted one."""
    stored = run.description.backbone
    agree = all(key in stored.kwargs and stored.kwargs[key] == value for key, value in kwargs.items())
    if (stored.source, stored.name) != (source, name) or not agree:
        raise TransferkitError(
            f"backbone.weights: {run.folder} holds {stored.name} of {stored.source} with kwargs {stored.kwargs}, not "
            f"{name} of {source} with kwargs {dict(kwargs)}. Choose the same backbone as that run did."
        )
    return dict(stored.kwargs)


def _check_architecture(run: Artifact, source: str, name: str, kwargs: Mapping[str, Any]) -> None:
    """Compare the stored tensors with those of the network, which is built without memory for them.

    Raises:
        TransferkitError: A shape differs, or the network is so large that the weights cannot be its own.
    """
    check_kwargs(kwargs)
    try:
        with torch.device("meta"), no_init():
            model = _module(source).build(name, None, kwargs).model
    except TransferkitError:
        raise
    except NotImplementedError:  # some network computes with values while it is built: loading compares its shapes
        return
    except Exception as error:
        raise TransferkitError(
            f"{run.folder}: model.json describes no network that can be built ({name} of {source}: {error})."
        ) from None
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    prefix = "backbone."
    stored = {key.removeprefix(prefix): info.shape for key, info in run.shapes.items() if key.startswith(prefix)}
    wrong = [key for key, shape in stored.items() if key in shapes and shapes[key] != shape]
    if wrong:
        raise TransferkitError(
            f"{run.folder}: model.safetensors does not go with model.json: {wrong[0]} is {list(stored[wrong[0]])} "
            f"there, {list(shapes[wrong[0]])} in {name} of {source}."
        )
    kept, whole = (sum(map(math.prod, part.values())) for part in (stored, shapes))
    if whole > 4 * kept + BEYOND_THE_FILE:
        raise TransferkitError(
            f"{run.folder}: model.json describes a network of {whole:,} values, model.safetensors holds {kept:,}."
        )


def _load_run(backbone: Backbone, run: Artifact) -> Backbone:
    """Load a run's weights; where the run kept only the stages up to its head, the backbone ends there, too."""
    state = run.tensors("backbone.")
    try:
        kept = backbone.truncate(run.description.stage)
        preprocess = Preprocessing.from_dict(run.metadata["preprocessing"])
    except TransferkitError as error:
        raise TransferkitError(f"{run.folder / METADATA_FILE} is damaged: {error}") from None
    loaded = kept if set(kept.original_state_dict()) >= set(state) else backbone
    loaded.load_original_state_dict(state, f"backbone.weights: {run.folder}")
    loaded.preprocess = preprocess
    loaded.weights_name = run.folder.name
    return loaded
