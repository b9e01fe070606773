"""From a name to a backbone."""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transferkit.artifact import is_artifact, read_metadata, read_tensors
from transferkit.backbones import from_timm, from_torchvision
from transferkit.backbones.backbone import Backbone, BackboneSpec
from transferkit.backbones.cut import cut
from transferkit.backbones.original import Original, check_kwargs
from transferkit.backbones.weights import SUFFIXES, read_state_dict
from transferkit.errors import TransferkitError
from transferkit.preprocess import Preprocessing
from transferkit.stage import unknown_name

try:
    from transferkit.backbones.narrow import NARROW
except ModuleNotFoundError:
    NARROW = {}

EMBEDDED = Path(__file__).parents[1] / "embedded"
SOURCES = ("auto", "embedded", "torchvision", "timm")


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
            (.safetensors, or .pth with nothing but tensors), a run directory, the name of embedded weights, or None
            for random ones.
        source: "torchvision", "timm", "embedded", or "auto" for the first of embedded, torchvision, timm that has it.
        kwargs: For the function that builds the network.
        mean: Replaces what the weights define, as do all that follow (`Preprocessing.override`).
        std: Per channel.
        input_size: In pixels.
        interpolation: Its name.
        crop_pct: In (0, 1].

    Raises:
        TransferkitError: If a name is unknown, the network cannot be cut, or the weights cannot be had or do not fit.
    """
    kwargs = dict(kwargs or {})
    check_kwargs(kwargs)
    source = _source(source, name)
    found = _locate(name, weights)
    run = found if isinstance(found, Path) and found.is_dir() else None
    if run is not None:
        kwargs = _same_architecture(run, source, name, kwargs)
    original = _build(source, name, None if run is not None else found, kwargs)
    stages, infos = cut(original.model, original.preprocess.input_size, f"{name} ({source})")
    spec = BackboneSpec(source, name, kwargs | dict(original.kwargs))
    backbone = Backbone(stages, infos, original.preprocess, spec, original.weights_name)
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
    valid = list(inspect.signature(create_backbone).parameters)
    for key in config:
        if key not in valid:
            raise TransferkitError(unknown_name("backbone", str(key), valid, "key"))
    if not isinstance(config.get("name"), str):
        raise TransferkitError("backbone.name: must be given, for example backbone.name=convnext_tiny.")
    return create_backbone(**config)


def _source(source: str, name: str) -> str:
    """Where the network comes from."""
    known = {
        "embedded": tuple(NARROW),
        "torchvision": from_torchvision.names(),
        "timm": from_timm.names(),
    }
    if source not in SOURCES:
        raise TransferkitError(unknown_name("backbone.source", source, SOURCES, "source"))
    searched = known if source == "auto" else {source: known[source]}
    for place, names in searched.items():
        if name in names or (place == "timm" and name.partition(".")[0] in names):
            return place
    everything = list(dict.fromkeys(name for names in searched.values() for name in names))
    where = " or ".join(searched)
    raise TransferkitError(unknown_name("backbone.name", name, everything, f"network in {where} called"))


def _locate(name: str, weights: str | Path | None) -> str | Path | None:
    """A file, a run directory, a weight's name, or None for random."""
    if weights is None or weights == "imagenet":  # a folder may be called so, too
        return weights
    path = Path(weights).expanduser()
    if path.is_file() or is_artifact(path):
        return path
    shipped = EMBEDDED / (name if str(weights) == "embedded" else str(weights))
    if is_artifact(shipped):
        return shipped
    if path.is_dir():
        read_metadata(path)  # says what is missing
    if isinstance(weights, Path) or path.suffix in SUFFIXES or "/" in weights:
        raise TransferkitError(f"backbone.weights: there is no file or run directory {path.absolute()}.")
    return weights


def _build(source: str, name: str, weights: str | Path | None, kwargs: Mapping[str, Any]) -> Original:
    if source == "torchvision":
        return from_torchvision.build(name, weights, kwargs)
    if source == "timm":
        return from_timm.build(name, weights, kwargs)
    return _build_embedded(name, weights, kwargs)


def _build_embedded(name: str, weights: str | Path | None, kwargs: Mapping[str, Any]) -> Original:
    if isinstance(weights, str):
        known = ", ".join(embedded_weights())
        raise TransferkitError(
            f"backbone.weights: {name} has no weights called {weights!r}. Embedded ones: {known}; a file, a run "
            "directory or null will do as well."
        )
    try:
        model = NARROW[name](**kwargs)
    except TypeError as error:
        raise TransferkitError(f"backbone.kwargs: {name} refuses {dict(kwargs)}: {error}.") from error
    if weights is None:
        return Original(model, Preprocessing())
    return Original(model, Preprocessing(), weights.name, read_state_dict(weights), f"backbone.weights: {weights}")


def embedded_weights() -> list[str]:
    """The names of the weights that are part of the package."""
    return sorted(folder.parent.name for folder in EMBEDDED.glob("*/model.json"))


def _same_architecture(run: Path, source: str, name: str, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of the network in a run directory, once it is clear that it is the wanted one."""
    stored = read_metadata(run)["backbone"]
    differing = {
        key: value
        for key, value in kwargs.items()
        if stored["kwargs"].get(key, value) != value or key not in stored["kwargs"]
    }
    if (stored["source"], stored["name"]) != (source, name) or differing:
        raise TransferkitError(
            f"backbone.weights: {run} holds {stored['name']} of {stored['source']} with kwargs {stored['kwargs']}, not "
            f"{name} of {source} with kwargs {dict(kwargs)}. Choose the same backbone as that run did."
        )
    return dict(stored["kwargs"])


def _load_run(backbone: Backbone, run: Path) -> Backbone:
    """Load a run's weights; where the run kept only the stages up to its head, the backbone ends there, too."""
    metadata = read_metadata(run)
    state = read_tensors(run, "backbone.")
    kept = backbone.truncate(metadata["stage"])
    loaded = kept if set(kept.original_state_dict()) >= set(state) else backbone
    loaded.load_original_state_dict(state, f"backbone.weights: {run}")
    loaded.preprocess = Preprocessing.from_dict(metadata["preprocessing"])
    loaded.weights_name = run.name
    return loaded
