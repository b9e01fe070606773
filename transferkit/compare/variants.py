"""The settings, other than the seed, in which runs differ. They distinguish the groups of a comparison."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from transferkit.compare.collect import FinishedRun
from transferkit.compare.partition import partition

Variant = dict[str, Any]
"""Dotted key to value, for the keys that vary."""

WITHOUT_EFFECT = (
    "seed",
    "run",
    "runs",
    "images",
    "cache",
    "logger",
    "report",
    "task",
    "experiment",
    "trainer.num_workers",
)
"""Keys and groups that do not change the results."""

SUBSET = ("dataset.per_class", "dataset.fraction")
"""The size of the subset: a column of the table, not part of the name."""

ABSENT = "(not set)"


def family(run: FinishedRun) -> tuple[str, str, str]:
    """Backbone, weights and strategy of a run."""
    return run.metrics["backbone"], str(run.metrics["weights"]), run.metrics["strategy"]


def find_variants(runs: Sequence[FinishedRun]) -> list[Variant]:
    """Return, for each run of one test set, the keys in which it differs from others, with its values.

    Settings of the data set are compared among all runs, the rest among runs of the same backbone and strategy.
    """
    data = _varying(runs, lambda key: key.startswith("dataset."))
    found = {run: dict(variant) for run, variant in zip(runs, data, strict=True)}
    for members in partition(runs, family):
        rest = _varying(members, lambda key: not key.startswith("dataset."))
        for run, variant in zip(members, rest, strict=True):
            found[run] |= variant
    return [found[run] for run in runs]


def _varying(runs: Sequence[FinishedRun], wanted: Any) -> list[Variant]:
    keys = sorted({key for run in runs for key in run.settings if wanted(key) and not _without_effect(key)})
    variants: list[Variant] = [{} for _ in runs]
    for group in dict.fromkeys(key.split(".")[0] for key in keys):
        inside = [key for key in keys if key.split(".")[0] == group]
        _compare_group(runs, group, inside, variants)
    return variants


def _compare_group(runs: Sequence[FinishedRun], group: str, keys: Sequence[str], variants: list[Variant]) -> None:
    """Add to `variants` the differences within a configuration group: its name, or for equal names its keys.

    So `augment=none` and `augment=strong` differ in one setting, not in every transform.
    """
    choices = [run.settings.get(f"{group}.name", ABSENT) for run in runs]
    if len({_frozen(choice) for choice in choices}) > 1:
        for variant, choice in zip(variants, choices, strict=True):
            variant[group] = choice
    for rows in partition(range(len(runs)), lambda i: _frozen(choices[i])):
        for key in keys:
            values = [runs[i].settings.get(key, ABSENT) for i in rows]
            if key != f"{group}.name" and len({_frozen(value) for value in values}) > 1:
                for i, value in zip(rows, values, strict=True):
                    variants[i][key] = value


def show_variant(variant: Mapping[str, Any]) -> str:
    """Write `optimizer=sgd, strategy.probe.Cs=5`, without the size of the subset."""
    return ", ".join(f"{key}={show_value(value)}" for key, value in variant.items() if key not in SUBSET)


def show_value(value: Any) -> str:
    """Write a value in the syntax of the command line."""
    if value is None:
        return "null"
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else _frozen(value)


def _without_effect(key: str) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in WITHOUT_EFFECT)


def _frozen(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
