"""The schema of the whole configuration, and the check at the start of every job."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from transferkit.config.augment_keys import Augment, Transforms
from transferkit.config.backbone_keys import Backbone, Backbones
from transferkit.config.dataset_keys import DATASETS
from transferkit.config.ensemble_use import ensemble_conflicts
from transferkit.config.export_keys import Export, formats
from transferkit.config.inspect_keys import Inspect
from transferkit.config.job_keys import (
    LOGGERS,
    TASKS,
    Cache,
    CacheToClear,
    Calibrate,
    Demo,
    EmbedIndex,
    Extract,
    Report,
    Selection,
    Trainer,
)
from transferkit.config.mistakes import explain
from transferkit.config.node import Epochs, Node, Path, Rate, Seed
from transferkit.config.optimizer_keys import OPTIMIZERS, Timm
from transferkit.config.protocol_keys import Protocols
from transferkit.config.run_names import dataset_name
from transferkit.config.schedule_keys import SCHEDULES
from transferkit.config.shortcuts import with_shortcuts
from transferkit.config.strategy_keys import STRATEGIES
from transferkit.config.target_use import target_conflicts
from transferkit.config.wording import flatten, no_such_choice, no_such_key, show
from transferkit.errors import TransferkitError


class Job(Node):
    """The keys outside the groups."""

    epochs: Epochs | None = None
    lr: Rate | None = None
    seed: Seed = 0
    run: Path | None = None
    runs: Path | list[Path] | None = None
    ensemble: Literal["snapshots"] | Annotated[int, Field(ge=1, le=64)] = 1
    images: Path | list[Path] | None = None
    backbones: Backbones | None = None
    extract: Extract = Extract()
    calibrate: Calibrate = Calibrate()
    report: Report = Report()
    inspect: Inspect = Inspect.model_construct()
    export: Export = Export.model_construct()
    demo: Demo = Demo.model_construct()
    embed: EmbedIndex = EmbedIndex.model_construct()


ONE_MODEL: dict[str, type[Node]] = {
    "backbone": Backbone,
    "augment": Augment,
    "trainer": Trainer,
    "selection": Selection,
    "protocol": Protocols,
}
"""Groups whose keys are always the same."""

BY_KEY: dict[str, tuple[str, Mapping[str, type[Node]]]] = {
    "dataset": ("kind", DATASETS),
    "optimizer": ("name", OPTIMIZERS),
    "schedule": ("name", SCHEDULES),
    "task": ("name", TASKS),
    "logger": ("name", LOGGERS),
}
"""Groups whose keys follow from the value of one of them, and which."""

GROUPS = (
    *("task", "dataset", "backbone", "strategy", "augment", "optimizer", "schedule"),
    *("selection", "protocol", "trainer", "logger"),
)
"""In the order in which people think of them. `cache` is a node of its own."""


CACHE = {"cache": CacheToClear}
"""Tasks that have further keys of the node `cache`."""


def check_config(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the complete configuration of a job: defaults for absent keys, `epochs` and `lr` put where they belong.

    Args:
        settings: As composed, in plain containers, without interpolations.

    Raises:
        TransferkitError: With a line for each mistake: unknown keys, and values of the wrong type, out of range, or
            incompatible with each other; or `epochs` or `lr` is given, and nothing has them.
    """
    nodes = [*GROUPS, "cache"]
    own = {key: value for key, value in settings.items() if key not in nodes}
    known = [*nodes, *Job.model_fields]
    everywhere = [key for key in flatten(settings) if key not in own or key in known]
    mistakes = [no_such_key(key, known, everywhere) for key in own if key not in known]
    checked: dict[str, Any] = {}
    try:
        checked |= check_node(Job, {key: value for key, value in own.items() if key in known}, "", everywhere)
    except TransferkitError as error:
        mistakes.append(str(error))
    for node in nodes:
        try:
            if node not in settings:
                raise TransferkitError(f"{node} is missing: a configuration needs all of {', '.join(nodes)}.")
            checked[node] = _checked(node, settings, everywhere)
        except TransferkitError as error:
            mistakes.append(str(error))
    if mistakes or (mistakes := conflicts(checked)):
        raise TransferkitError("\n".join(mistakes))
    return with_shortcuts(checked)


def conflicts(settings: Mapping[str, Any]) -> list[str]:
    """Return a line for each pair of values that are right alone and wrong together."""
    task, shard, found = settings["task"]["name"], settings["extract"]["shard"], list[str]()
    if task == "pretrain" and "lr" not in settings["optimizer"]:
        found.append("optimizer.lr=null must be a number above 0 for task=pretrain.")
    if task == "pretrain" and settings["task"]["network_init"] != "default" and settings["backbone"]["weights"]:
        found.append("task.network_init is for weights that start at random: backbone.weights=null.")
    if settings["strategy"].get("wise_ft") == "auto" and settings["selection"]["name"] == "last":
        found.append(
            "strategy.wise_ft=auto is chosen on held-out images, but selection=last chooses nothing: give it a number."
        )
    if shard is not None and task != "fit":
        found.append(f"extract.shard is for task=fit, not for task={task}.")
    if shard is not None and not settings["cache"]["enabled"]:
        found.append("extract.shard stores its share in the cache, which cache.enabled=false turns off.")
    if settings["backbones"] is not None:
        if task != "advise" and not (task == "fit" and "auto" in settings["strategy"]):
            found.append(
                "backbones is for task=advise and strategy=auto, which choose one of them; otherwise backbone=NAME."
            )
        elif shard is not None:
            found.append("extract.shard is for one network (backbone=NAME), not for several (backbones).")
    chosen = formats(settings["export"])
    if settings["export"]["int8"] and "onnx" not in chosen:
        found.append("export.int8=true quantises the ONNX file: export.format=onnx, or a list with onnx in it.")
    if settings["export"]["push"] and "hub" not in chosen:
        found.append("export.push=... uploads the folder that export.format=hub writes.")
    return [*found, *ensemble_conflicts(settings), *target_conflicts(settings)]


def check_group(group: str, given: Mapping[str, Any], everywhere: Sequence[str] = ()) -> dict[str, Any]:
    """Return the content of a group, complete.

    Args:
        group: One of `GROUPS`.
        given: Its content.
        everywhere: All keys of the configuration, to recognise a misplaced one.

    Raises:
        TransferkitError: With a line for each mistake.
    """
    values = check_node(_model(group, given), given, group, everywhere)
    if group == "dataset":
        values["name"] = dataset_name(values)
    if group == "optimizer":  # for null, torch's default is used
        values = {key: value for key, value in values.items() if value is not None}
    if group == "augment":
        values["transforms"] = check_transforms(given.get("transforms", {}))
    if group == "protocol":
        values = {name: values[name] for name in given} or {"center": {}}
    return values


def check_transforms(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the node `augment.transforms` in the order given, each with the arguments that are given.

    Raises:
        TransferkitError: With a line for each mistake.
    """
    checked = _validated(Transforms, given, "augment.transforms").model_dump(exclude_unset=True)
    return {name: checked[name] for name in given}


def check_node(model: type[Node], given: Any, where: str, everywhere: Sequence[str] = ()) -> dict[str, Any]:
    """Return the content of a node as its model completes it, in plain containers.

    Args:
        model: Says which keys there are, and what their values may be.
        given: The content.
        where: The key of the node, for messages: "strategy.gradient".
        everywhere: All keys of the configuration, to recognise a misplaced one.

    Raises:
        TransferkitError: With a line for each mistake.
    """
    return _validated(model, given, where, everywhere).model_dump()


def _validated(model: type[Node], given: Any, where: str, everywhere: Sequence[str] = ()) -> Node:
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise TransferkitError("\n".join(explain(error, model, given, where, everywhere))) from error


def _checked(node: str, settings: Mapping[str, Any], everywhere: Sequence[str]) -> dict[str, Any]:
    if node != "cache":
        return check_group(node, settings[node], everywhere)
    task = settings.get("task")
    model = CACHE.get(str(task.get("name")), Cache) if isinstance(task, Mapping) else Cache
    return check_node(model, settings[node], node, everywhere)


def _model(group: str, given: Any) -> type[Node]:
    if not isinstance(given, Mapping):
        raise TransferkitError(f"{group}={show(given)} must be a mapping: choose one, {group}=NAME.")
    if group in ONE_MODEL:
        return ONE_MODEL[group]
    if group == "strategy":
        return _strategy_model(given)
    if group == "optimizer" and given.get("source") is not None:
        return Timm
    key, models = BY_KEY[group]
    if not isinstance(given.get(key), str) or given[key] not in models:
        raise TransferkitError(no_such_choice(f"{group}.{key}", given.get(key), list(models)))
    return models[given[key]]


def _strategy_model(strategy: Mapping[str, Any]) -> type[Node]:
    for node, model in STRATEGIES.items():
        if node in strategy:
            return model
    kinds = ", ".join(node for node in STRATEGIES if node != "combine")
    raise TransferkitError(
        f"strategy={show(strategy.get('name'))} has none of {kinds}, so its kind is unknown: "
        "see conf/strategy/linear_probe.yaml."
    )
