"""Networks of `classic.py`, with random weights, those of a file, or those of a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transferkit.backbones.classic import CLASSIC
from transferkit.backbones.original import Original, built
from transferkit.backbones.weights import read_state_dict
from transferkit.data.preprocess import Preprocessing
from transferkit.errors import TransferkitError

_PAPERS: dict[str, dict[str, float]] = {
    "lenet5": {"input_size": 32, "crop_pct": 1.0, "mean": 0.5, "std": 0.25},
    "alexnet_lrn": {"input_size": 227, "crop_pct": 227 / 256},
    "alexnet_two_tower": {"input_size": 227, "crop_pct": 227 / 256},
}
"""The papers' preprocessing, where it is not the usual one of ImageNet networks."""


def names() -> tuple[str, ...]:
    """The networks of `classic.py`."""
    return tuple(CLASSIC)


def for_size(name: str, kwargs: Mapping[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    """The keyword arguments that build a network for images of some size: nothing depends on it here."""
    return dict(kwargs)


def build(name: str, weights: str | Path | None, kwargs: Mapping[str, Any]) -> Original:
    """A network of `classic.py`.

    Args:
        name: As in `names()`.
        weights: A file, or None for random weights; run directories are loaded by `create_backbone`.
        kwargs: For the function that builds the network.

    Raises:
        TransferkitError: If the weights are a name, or the network refuses the keyword arguments.
    """
    if isinstance(weights, str):
        raise TransferkitError(
            f"backbone.weights: {name} has no published weights, and none called {weights!r}. Possible are a file, a "
            "run directory (of task=pretrain, for example), or null for random weights."
        )
    model = built(CLASSIC, name, kwargs)
    preprocess = Preprocessing().override(**_PAPERS.get(name, {}))  # type: ignore[arg-type]
    if weights is None:
        return Original(model, preprocess)
    return Original(model, preprocess, weights.name, read_state_dict(weights), f"backbone.weights: {weights}")
