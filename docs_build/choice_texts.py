"""The files in `conf/` as data: the value of every key of every choice, and the comments beside them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from transferkit.config.choice_files import choices, config_dir


class Choice(NamedTuple):
    """A choice of a group.

    Attributes:
        name: As in `group=name`.
        values: Dotted key to value, those that the group shares included; lists stay lists.
        comments: Dotted key to the comment on its line.
    """

    name: str
    values: dict[str, Any]
    comments: dict[str, str]


def read_choices(group: str) -> list[Choice]:
    """Return the choices of a group, with keys below the group's name: "trainer.device"."""
    return [_choice(group, name) for name in choices(group)]


def read_config() -> Choice:
    """Return `conf/config.yaml`, and what the tasks put beside the groups (`inspect`, `cache`)."""
    files = [config_dir() / "config.yaml", *(config_dir() / "task" / f"{name}.yaml" for name in choices("task"))]
    values, comments = dict[str, Any](), dict[str, str]()
    for file in files:
        found = _read(file)
        values |= {key: value for key, value in found.values.items() if key not in values}
        comments |= {key: text for key, text in found.comments.items() if key not in comments}
    return Choice("config", values, comments)


def _choice(group: str, name: str) -> Choice:
    file = config_dir() / group / f"{name}.yaml"
    own = _read(file)
    if _is_global(file):
        return Choice(name, own.values, own.comments)
    shared = [_read(config_dir() / "shared" / f"{one}.yaml") for one in _shared(file)]
    values, comments = dict[str, Any](), dict[str, str]()
    for one in [*shared, own]:
        values |= {f"{group}.{key}": value for key, value in one.values.items()}
        comments |= {f"{group}.{key}": text for key, text in one.comments.items()}
    return Choice(name, values, comments)


def _is_global(file: Path) -> bool:
    return file.read_text(encoding="utf-8").startswith("# @package _global_")


def _shared(file: Path) -> list[str]:
    """Return the files of `conf/shared` that a choice starts from."""
    defaults = yaml.safe_load(file.read_text(encoding="utf-8")).get("defaults", [])
    named = [one for one in defaults if isinstance(one, str) and one.startswith("/shared/")]
    return [one.split("@")[0].removeprefix("/shared/") for one in named]


def _read(file: Path) -> Choice:
    text = file.read_text(encoding="utf-8")
    lines = text.splitlines()
    values, comments = dict[str, Any](), dict[str, str]()
    for key, node, line in _leaves(yaml.compose(text, Loader=yaml.SafeLoader)):
        if key.split(".")[0] in ("defaults", "hydra"):
            continue
        inner = isinstance(node, yaml.MappingNode) and node.value and not node.flow_style
        if not inner:
            values[key] = yaml.load(yaml.serialize(node), Loader=yaml.SafeLoader)
        end = lines[line].partition(":")[2] if inner else lines[node.end_mark.line][node.end_mark.column :]
        between, _, comment = end.partition("#")
        if comment and not between.strip():  # inside {...} it belongs to the whole
            comments[key] = comment.strip()
    return Choice(file.stem, values, comments)


def _leaves(node: yaml.Node | None, prefix: str = "") -> Iterator[tuple[str, yaml.Node, int]]:
    """Yield the keys of nested mappings with dots, the node of each value, and the line of the key."""
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        yield f"{prefix}{key.value}", value, key.start_mark.line
        yield from _leaves(value, f"{prefix}{key.value}.")
