"""Which tasks and strategies there are for a target that is no class (`dataset.target`)."""

from collections.abc import Mapping
from typing import Any

TASKS = ("fit", "evaluate", "predict", "embed", "cache", "compare", "demo", "export", "fuse")
"""Those that do not need classes."""

SOLVERS = {"multilabel": "logistic", "ordinal": "logistic", "regression": "ridge"}
"""The classifier of exact probes by target: a logistic regression for each label, or ridge regression."""

DEFAULT = ["logistic"]
"""`strategy.probe.classifiers` as strategies have it, which names nothing in particular."""


def target_conflicts(settings: Mapping[str, Any]) -> list[str]:
    """Return a line for each choice that the target of the data set does not allow.

    Args:
        settings: The configuration, whose values are right alone.
    """
    target, task = settings["dataset"].get("target", "class"), settings["task"]["name"]
    if target == "class":
        return []
    if task not in TASKS:
        return [f"task={task} needs classes, and dataset.target={target} has none: its tasks are {', '.join(TASKS)}."]
    mistakes = _in_strategy(settings["strategy"], target, task)
    return [f"{found} (dataset.target={target})." for found in mistakes]


def _in_strategy(strategy: Mapping[str, Any], target: str, task: str) -> list[str]:
    """Choices of a fit's strategy that the target does not allow."""
    if task != "fit":
        return []
    if "auto" in strategy or "neighbors" in strategy:
        return [
            f"strategy={strategy['name']} is for classes; linear_probe, stage_probe, concat_probe and the strategies "
            "that finetune are for other targets, too"
        ]
    found = list[str]()
    if strategy.get("solver") == "gradient":
        found.append("strategy.solver=gradient trains probes of classes: use strategy.solver=exact")
    tried, solver = strategy.get("probe", {}).get("classifiers", DEFAULT), SOLVERS[target]
    if solver not in tried and tried != DEFAULT:
        found.append(f"strategy.probe.classifiers={tried} has none for this target: it is fitted by {solver}")
    if strategy.get("probe", {}).get("class_weights") == "balanced" and solver == "ridge":
        found.append("strategy.probe.class_weights=balanced needs classes or labels")
    mixes = [key for key in ("mixup", "cutmix") if strategy.get(key) and target != "multilabel"]
    found += [f"strategy.{key} mixes classes or labels: use strategy.{key}=0" for key in mixes]
    if strategy.get("wise_ft") is not None:
        found.append("strategy.wise_ft is for finetuning on classes")
    if strategy.get("distill", {}).get("teacher") is not None:
        found.append("strategy.distill has probabilities of classes as targets: use strategy.distill.teacher=null")
    if strategy.get("class_weights", "none") != "none":
        found.append("strategy.class_weights=balanced is for finetuning on classes")
    return found
