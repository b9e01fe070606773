"""The keys `epochs` and `lr`, which stand for the keys of whatever is trained."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from transferkit.config.wording import show
from transferkit.errors import TransferkitError

NAMES = {"epochs": "epochs", "lr": "learning rate"}
"""The keys, and what they are called in a sentence."""


def with_shortcuts(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with the values of `epochs` and `lr` in the keys that they stand for.

    Args:
        settings: Checked.

    Raises:
        TransferkitError: One is given, and nothing that the task does has it.
    """
    changed = {
        key: copy.deepcopy(value) if key in ("strategy", "task", "optimizer") else value
        for key, value in settings.items()
    }
    for name in NAMES:
        for path, value in shortcut_values(settings, name).items():
            node = changed
            for key in path[:-1]:
                node = node[key]
            node[path[-1]] = value
    return changed


def shortcut_lines(settings: Mapping[str, Any]) -> list[str]:
    """Return a line for each of `epochs` and `lr` that is given, with the keys that it sets."""
    found = {name: shortcut_values(settings, name) for name in NAMES}
    return [f"{name}={show(settings[name])} sets {_listed(values)}." for name, values in found.items() if values]


def shortcut_values(settings: Mapping[str, Any], name: str) -> dict[Sequence[str], Any]:
    """Return the path of each key that `epochs` or `lr` sets, and its value; nothing where it is null.

    `epochs` is exact: no minimum number of steps makes more of them. `lr` is the highest rate of every phase, as
    fastai's `fine_tune(base_lr=)`: that of the head, whose rate is then no longer adapted to the width of the network
    (`strategy.head_scale`); the rates of the other stages keep their proportion to it.

    Raises:
        TransferkitError: It is given, and nothing that the task does has it.
    """
    value = settings.get(name)
    if value is None or settings["task"]["name"] == "search":  # which fits with them
        return {}
    task, strategy = settings["task"]["name"], settings["strategy"]
    if task == "pretrain":
        return {("task", "epochs") if name == "epochs" else ("optimizer", "lr"): value}
    if task != "fit":
        raise TransferkitError(f"{name}={show(value)} is for task=fit and task=pretrain, not for task={task}.")
    if "phases" in strategy:
        return _of_phases(strategy, name, value)
    if strategy.get("solver") == "gradient":
        gradient: dict[Sequence[str], Any] = {("strategy", "gradient", name): value}
        return gradient | ({("strategy", "gradient", "min_steps"): 0} if name == "epochs" else {})
    kind = "chooses its own" if "auto" in strategy else f"has no {NAMES[name]}"
    instead = " strategy.solver=gradient trains a probe in epochs," if "solver" in strategy else ""
    raise TransferkitError(
        f"{name}={show(value)}: strategy={strategy['name']} {kind};{instead} strategy=finetune_few or full_finetune "
        "finetunes."
    )


def _of_phases(strategy: Mapping[str, Any], name: str, value: Any) -> dict[Sequence[str], Any]:
    found: dict[Sequence[str], Any] = {}
    for phase, content in strategy["phases"].items():
        if content is None:
            continue
        here = ("strategy", "phases", phase)
        if name == "epochs":
            found |= {(*here, "epochs"): value, (*here, "min_steps"): 0}
            continue
        rates = {stage: rate for stage, rate in content["train"].items() if rate is not None}
        scale = value / max(rates.values())
        found |= {(*here, "train", stage): float(f"{rate * scale:.6g}") for stage, rate in rates.items()}
    if name == "lr" and strategy["head_scale"] == "auto":
        found[("strategy", "head_scale")] = 1.0
    return found


def _listed(values: Mapping[Sequence[str], Any]) -> str:
    """Write `a.b=1, a.c=2` with the place that several keys share once: `a.{b=1, c=2}`."""
    places: dict[str, list[str]] = {}
    for path, value in values.items():
        places.setdefault(".".join(path[:-1]), []).append(f"{path[-1]}={show(value)}")
    return ", ".join(
        f"{place}.{items[0]}" if len(items) == 1 else f"{place}.{{{', '.join(items)}}}"
        for place, items in places.items()
    )
