"""Settings that would fail late, or deep inside a library, are checked before any work is done."""

from collections.abc import Callable, Mapping
from typing import Any

from transferkit.errors import TransferkitError


def is_whole(value: Any) -> bool:
    """Whether `value` is a whole number (True and False are not)."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether `value` is a number (True and False are not)."""
    return is_whole(value) or isinstance(value, float)


def _is_grid(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(is_number(C) and C > 0 for C in value)
    return is_whole(value) and value >= 1


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(name, str) for name in value)


def _is_metrics(value: Any) -> bool:
    return _is_names(value) and set(value) <= {"l2", "cosine"}


def _is_counts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(is_whole(k) and k >= 1 for k in value)


def _one_of(*names: str) -> tuple[Callable[[Any], bool], str]:
    return lambda value: value in names, f"one of {', '.join(names)}"


RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "seed": (lambda value: is_whole(value) and 0 <= value < 2**32, "a whole number from 0 to 2^32 - 1"),
    "trainer.batch_size": (lambda value: is_whole(value) and value >= 1, "a whole number of at least 1"),
    "trainer.devices": (lambda value: is_whole(value) and value >= 1, "a whole number of at least 1"),
    "trainer.num_workers": (
        lambda value: value == "auto" or (is_whole(value) and value >= 0),
        "auto, or a whole number of at least 0",
    ),
    "trainer.precision": _one_of("auto", "fp32", "bf16", "fp16"),
    "trainer.compile": (lambda value: value == "auto" or isinstance(value, bool), "auto, true or false"),
    "dataset.cache": (lambda value: value in (None, "pixels"), "null or pixels"),
    "augment.views": (
        lambda value: value is None or (is_whole(value) and value >= 1),
        "null, or a whole number from 1 on",
    ),
    "cache.enabled": (lambda value: isinstance(value, bool), "true or false"),
    "cache.max_gb": (lambda value: is_number(value) and value > 0, "a number above 0"),
    "strategy.pool": _one_of("avg", "max", "grid2", "grid3", "grid4"),
    "strategy.solver": _one_of("exact", "gradient"),
    "strategy.combine": _one_of("best", "concat"),
    "strategy.neighbors.stages": (_is_names, "a list of stage names such as [top]"),
    "strategy.neighbors.metrics": (_is_metrics, "a list of l2, cosine or both"),
    "strategy.neighbors.ks": (_is_counts, "a list of whole numbers of at least 1"),
    "cache.unused_days": (lambda value: is_number(value) and value >= 0, "a number of at least 0"),
    "cache.ram_gb": (lambda value: is_number(value) and value >= 0, "a number of at least 0"),
    "strategy.probe.stages": (_is_names, "a list of stage names such as [top]"),
    "strategy.probe.Cs": (_is_grid, "how many values (a whole number), or a list of values above 0"),
}
"""Key to what its value must be, and that in words."""


def check_settings(settings: Mapping[str, Any]) -> None:
    """Check the keys of `RULES` that `settings` has.

    Raises:
        TransferkitError: a value cannot be used.
    """
    for key, (holds, words) in RULES.items():
        value: Any = settings
        for name in key.split("."):
            value = value.get(name, _ABSENT) if isinstance(value, Mapping) else _ABSENT
        if value is not _ABSENT and not holds(value):
            raise TransferkitError(f"{key}={value} must be {words}.")


_ABSENT = object()
