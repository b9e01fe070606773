"""The registry of the kinds of targets: how each is read from a table of images, and from an artifact."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from transferkit.errors import TransferkitError, unknown_name
from transferkit.targets import class_target, multilabel_target, ordinal_target, regression_target
from transferkit.targets.class_target import ClassTarget
from transferkit.targets.multilabel_target import MultilabelTarget
from transferkit.targets.ordinal_target import OrdinalTarget
from transferkit.targets.regression_target import RegressionTarget
from transferkit.targets.target import LabelCells, LabelRows, Target


class Kind(NamedTuple):
    """One kind of target.

    Attributes:
        build: Makes the target from its names and the rest of its entry in an artifact.
        read: Makes the target and the labels of all images from the cells of a table.
        empty: Whether a cell may be empty.
    """

    build: Callable[..., Target]
    read: Callable[[LabelCells], tuple[Target, LabelRows]]
    empty: bool = False


KINDS = {
    "class": Kind(ClassTarget, class_target.read),
    "multilabel": Kind(MultilabelTarget, multilabel_target.read, empty=True),
    "regression": Kind(RegressionTarget, regression_target.read),
    "ordinal": Kind(OrdinalTarget, ordinal_target.read),
}
"""By the value of `dataset.target`."""


def make_target(names: Sequence[str], description: Mapping[str, Any] | None = None) -> Target:
    """Return the target that an artifact describes.

    Args:
        names: Of the classes, labels or values.
        description: The entry `target`; None stands for classes.

    Raises:
        TransferkitError: The kind is unknown.
    """
    described = dict(description or {"kind": "class"})
    kind = described.pop("kind")
    if kind not in KINDS:
        raise TransferkitError(unknown_name("target.kind", kind, list(KINDS), "kind of target"))
    scale = {key: tuple(value) for key, value in described.items() if value is not None}
    return KINDS[kind].build(tuple(names), **scale)


def as_target(given: Sequence[str] | Target) -> Target:
    """Return a target as it is, and class names as a target of classes."""
    return given if isinstance(given, Target) else ClassTarget(tuple(given))
