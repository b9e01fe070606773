"""Every key of the configuration: its valid values, its default and its meaning.

Valid values come from the schema (`transferkit.config.schema`), in the words of its error messages; defaults and
meanings from the files in `conf/`, where each key has a comment.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from docs_build.choice_texts import Choice, read_choices, read_config
from transferkit.config.job_keys import Cache
from transferkit.config.mistakes import branches, json_schema, words
from transferkit.config.node import Node
from transferkit.config.optimizer_keys import Timm
from transferkit.config.schema import BY_KEY, CACHE, GROUPS, ONE_MODEL, Job
from transferkit.config.strategy_keys import STRATEGIES
from transferkit.config.wording import show

ELSEWHERE = {
    "optimizer": "that of torch's optimizer; null: torch's default",
    "augment.transforms": "that of torchvision's transform",
}
"""Keys that pass arguments on, and whose meaning is therefore another library's."""

KIND = "set by the choice"
"""The meaning of `name` and `kind`."""

TITLES = {
    "combine": "probes on several stages",
    "probe": "a probe on one stage",
    "neighbors": "nearest neighbours",
    "phases": "finetuning",
}
"""Of the kinds of strategies, which go by the key that only they have."""

ENTRIES = {"phases": "NAME", "train": "STAGE", "kwargs": "NAME"}
"""Mappings whose keys are free, and how such a key is called."""

KEYS_BELOW = "the keys below"
"""The valid values of a key that groups others."""

MOST_SHOWN = 3
"""Choices whose own default is listed; where more differ, the files say it."""


class Key(NamedTuple):
    """A row of the reference: the key as typed, valid values, default, meaning."""

    name: str
    allowed: str
    default: str
    meaning: str


class Section(NamedTuple):
    """Keys that belong together, and the choices of the group that have them; none for the keys outside the groups."""

    title: str
    choices: Sequence[str]
    keys: Sequence[Key]


class Kind(NamedTuple):
    """Choices with the same keys, whose values `model` checks."""

    name: str
    model: type[Node]
    choices: Sequence[Choice]


def sections() -> list[Section]:
    """Return the keys of every group in the order of the schema, then `cache` and the keys outside the groups."""
    found = [section for group in GROUPS for section in _group_sections(group)]
    everything = read_config()
    models: list[type[Node]] = [Cache, *CACHE.values()]
    kinds = [Kind("cache", model, [everything]) for model in models]
    rows = {key.name: key for kind in kinds for key in _rows("cache", kind)}
    found.append(Section("cache", [], list(rows.values())))
    found.append(Section("keys outside the groups", [], _rows("", Kind("", Job, [everything]))))
    return [section._replace(keys=[_with_meaning(key) for key in section.keys]) for section in found]


def _with_meaning(key: Key) -> Key:
    """Fill in the meaning of a key that no file explains."""
    if key.meaning:
        return key
    name = key.name.count(".") == 1 and key.name.endswith((".name", ".kind"))
    found = (text for place, text in ELSEWHERE.items() if key.name.startswith(f"{place}."))
    return key._replace(meaning=KIND if name else next(found, ""))


def _group_sections(group: str) -> list[Section]:
    found = read_choices(group)
    if group in ONE_MODEL:
        return [Section(group, [one.name for one in found], _rows(group, Kind(group, ONE_MODEL[group], found)))]
    kinds = _kinds(group, found)
    rows = {kind.name: {row.name: row for row in _rows(group, kind)} for kind in kinds}
    common = [name for name in rows[kinds[0].name] if all(name in keys for keys in rows.values())]
    shared = [_merged([keys[name] for keys in rows.values()], group, found) for name in common]
    own = [
        Section(
            f"{group}: {TITLES.get(kind.name, kind.name)}",
            [choice.name for choice in kind.choices],
            [row for name, row in rows[kind.name].items() if name not in common],
        )
        for kind in kinds
    ]
    return [Section(group, [one.name for one in found], shared), *(section for section in own if section.keys)]


def _kinds(group: str, found: Sequence[Choice]) -> list[Kind]:
    if group == "strategy":
        left, kinds = list(found), list[Kind]()
        for node, model in STRATEGIES.items():
            mine = [one for one in left if any(f"{key}.".startswith(f"strategy.{node}.") for key in one.values)]
            left = [one for one in left if one not in mine]
            kinds.append(Kind(node, model, mine))
        return kinds
    key, models = BY_KEY[group]
    timms = [one for one in found if one.values.get("optimizer.source") == "timm"]
    own = [one for one in found if one not in timms]
    kinds = [
        Kind(name, model, [one for one in own if one.values[f"{group}.{key}"] == name])
        for name, model in models.items()
    ]
    return [*kinds, Kind("timm", Timm, timms)] if timms else kinds


def _merged(rows: Sequence[Key], group: str, found: Sequence[Choice]) -> Key:
    """Return the row of a key that all kinds of a group have."""
    allowed = list(dict.fromkeys(part for row in rows for part in row.allowed.split(" or ")))
    same = len({row.allowed for row in rows}) == 1
    name = rows[0].name
    said = rows[0].allowed if same else ", ".join(allowed)
    default = rows[0].default if len({row.default for row in rows}) == 1 else _default(name, found, None)
    return Key(name, said, default, _meaning(name, found))


def _rows(group: str, kind: Kind) -> list[Key]:
    schema, rows = json_schema(kind.model), list[Key]()
    for name, node in _walk(schema, schema, f"{group}." if group else "", kind.choices):
        allowed = _allowed(node, schema)
        default = "" if allowed == KEYS_BELOW else _default(name, kind.choices, node)
        rows.append(Key(name, allowed, default, _meaning(name, kind.choices) or node.get("meaning", "")))
    return rows


def _allowed(node: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    """Return the valid values in words; the keys of a mapping have rows of their own."""
    return re.sub(r"a mapping with the keys .*", KEYS_BELOW, words(node, root))


def _walk(
    node: Mapping[str, Any], root: Mapping[str, Any], prefix: str, found: Sequence[Choice]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the keys below a node of a JSON schema; one that only groups others where a comment explains it."""
    for one in branches(node, root):
        for key, value in one.get("properties", {}).items():
            name, below = f"{prefix}{key}", branches(value, root)
            grouping = len(below) == 1 and "properties" in below[0]
            if not grouping or any(name in choice.comments for choice in found):
                yield name, value
            yield from _walk(value, root, f"{name}.", found)
        free = one.get("additionalProperties")
        if isinstance(free, Mapping):
            name = f"{prefix}{ENTRIES[prefix.split('.')[-2]]}"
            if not any("properties" in below for below in branches(free, root)):
                yield name, free
            yield from _walk(free, root, f"{name}.", found)


def _default(name: str, found: Sequence[Choice], node: Mapping[str, Any] | None) -> str:
    """Return the default: the value that most choices have, and those that have another one if they are few."""
    values = {one.name: _shown(one.values[name]) for one in found if name in one.values}
    if node is not None and "default" in node and len(values) < max(len(found), 1):
        values |= {one.name: _shown(node["default"]) for one in found if one.name not in values}
        values = values or {"": _shown(node["default"])}
    if not values:
        return "must be given"
    usual = Counter(values.values()).most_common(1)[0][0]
    others = [f"{choice}: {value}" for choice, value in values.items() if value != usual]
    if len(others) <= MOST_SHOWN:
        return "; ".join([usual, *others])
    return f"{usual}; another in {len(others)} choices" if 2 * len(others) < len(values) else "differs by choice"


def _shown(value: Any) -> str:
    return "must be given" if value == "???" else f"`{show(value)}`"


def _meaning(name: str, found: Sequence[Choice]) -> str:
    """Return the comment that most choices have, of several the longest."""
    pattern = re.compile("[^.]+".join(map(re.escape, re.split("|".join(ENTRIES.values()), name))))
    said = Counter(text for one in found for key, text in one.comments.items() if pattern.fullmatch(key))
    return max(said, key=lambda text: (said[text], len(text)), default="")
