"""The small networks of this package, and their embedded weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transferkit.backbones.narrow import NARROW
from transferkit.backbones.original import Original, built
from transferkit.backbones.weights import read_state_dict
from transferkit.data.preprocess import Preprocessing
from transferkit.errors import TransferkitError

FOLDER = Path(__file__).parents[1] / "embedded"


def names() -> tuple[str, ...]:
    """The networks of this package."""
    return tuple(NARROW)


def shipped_weights() -> list[str]:
    """The weights of this package, each an artifact in `FOLDER`."""
    return sorted(file.parent.name for file in FOLDER.glob("*/model.json"))


def for_size(name: str, kwargs: Mapping[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    """The keyword arguments that build a network for images of some size: nothing depends on it here."""
    return dict(kwargs)


def build(name: str, weights: str | Path | None, kwargs: Mapping[str, Any]) -> Original:
    """A network of this package.

    Args:
        name: As in `names()`.
        weights: A file, or None for random weights; artifacts are loaded by `create_backbone`.
        kwargs: For the function that builds the network.

    Raises:
        TransferkitError: If the weights are a name, or the network refuses the keyword arguments.
    """
    if isinstance(weights, str):
        shipped = ", ".join(shipped_weights())
        raise TransferkitError(
            f"backbone.weights: {name} has no weights called {weights!r}. Embedded weights: {shipped}; a file, a "
            "run directory or null is also possible."
        )
    model = built(NARROW, name, kwargs)
    if weights is None:
        return Original(model, Preprocessing())
    return Original(model, Preprocessing(), weights.name, read_state_dict(weights), f"backbone.weights: {weights}")
