"""Messages about mistakes in the configuration: the key as typed, the value, and the valid values.

Valid values are read from the JSON schema that pydantic generates for a model, so that each rule is defined once.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import BaseModel, ValidationError

from transferkit.config.wording import close_matches, no_such_key, show
from transferkit.errors import TransferkitError

PLURALS = {"a number": "numbers", "a whole number": "whole numbers", "a path": "paths", "a text": "texts"}

Schema = Mapping[str, Any]


def explain(
    error: ValidationError, model: type[BaseModel], given: Any, where: str, everywhere: Sequence[str] = ()
) -> list[str]:
    """Return a sentence for each key that is wrong.

    Args:
        error: The errors of pydantic.
        model: The schema.
        given: The content that was checked.
        where: Its key: "trainer"; empty for the top level.
        everywhere: All keys of the configuration, to recognise a misplaced one.
    """
    schema = json_schema(model)
    said: dict[str, str] = {}
    for one in error.errors(include_url=False):
        path, value = _at(one["loc"], given)
        key = ".".join([*([where] if where else []), *path])
        cause = one.get("ctx", {}).get("error")
        if isinstance(cause, TransferkitError):
            said.setdefault(str(cause), str(cause))
        elif one["type"] == "extra_forbidden":
            said.setdefault(key, no_such_key(key, _keys(schema, path[:-1]), everywhere))
        elif one["type"] == "missing":
            said.setdefault(key, f"{key} is missing: it must be {_allowed(schema, path)}.")
        elif isinstance(cause, ValueError):
            said.setdefault(key, f"{key}: {cause}")
        else:
            said.setdefault(key, _must_be(key, value, _node(schema, path), schema))
    return list(said.values())


@cache
def json_schema(model: type[BaseModel]) -> Schema:
    """Return the JSON schema of a node."""
    return model.model_json_schema()


def _at(location: Sequence[int | str], given: Any) -> tuple[list[str], Any]:
    """Return the path of keys to the wrong value, without pydantic's labels of union branches, and the value."""
    path: list[str] = []
    value = given
    for part in location:
        if isinstance(part, int):
            break
        if isinstance(value, Mapping) and part in value:
            path.append(part)
            value = value[part]
        elif isinstance(value, Mapping) and part == location[-1]:  # a key that is missing
            path.append(part)
    return path, value


def _must_be(key: str, value: Any, node: Schema, root: Schema) -> str:
    alternatives = branches(node, root)
    names = [str(name) for branch in alternatives for name in branch.get("enum", [branch.get("const")]) if name]
    near = close_matches(value, names) if isinstance(value, str) else []
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return f"{key}={show(value)} must be {words(node, root)}.{hint}"


def _allowed(schema: Schema, path: Sequence[str]) -> str:
    return words(_node(schema, path), schema)


def _keys(schema: Schema, path: Sequence[str]) -> list[str]:
    """Return the keys of the node at `path`."""
    node = _node(schema, path)
    return [key for branch in branches(node, schema) for key in branch.get("properties", {})]


def _node(root: Schema, path: Sequence[str]) -> Schema:
    """Return the schema of the value at `path`."""
    node = root
    for part in path:
        for branch in branches(node, root):
            if part in branch.get("properties", {}):
                node = branch["properties"][part]
                break
            if isinstance(branch.get("additionalProperties"), Mapping):
                node = branch["additionalProperties"]
                break
        else:
            return {}
    return node


def branches(node: Schema, root: Schema) -> list[Schema]:
    """Return the alternatives of a union; a reference is followed."""
    if "$ref" in node:
        return branches(root["$defs"][node["$ref"].rpartition("/")[2]], root)
    if "anyOf" in node:
        return [branch for one in node["anyOf"] for branch in branches(one, root)]
    return [node]


def words(node: Schema, root: Schema) -> str:
    """Return the valid values in words: "auto, or a whole number from 0 to 256"."""
    if "description" in node and "properties" not in node:
        return str(node["description"])
    alternatives = list(dict.fromkeys(_one(branch, root) for branch in branches(node, root)))
    alternatives.sort(key=lambda text: text != "null")
    return ", or ".join(alternatives)


def _one(node: Schema, root: Schema) -> str:
    if "properties" in node:
        return f"a mapping with the keys {', '.join(node['properties'])}"
    if "description" in node:
        return str(node["description"])
    if "const" in node or "enum" in node:
        names = [show(name) for name in node.get("enum", [node.get("const")])]
        return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
    kind = node.get("type")
    if kind in ("integer", "number"):
        return f"a {'whole number' if kind == 'integer' else 'number'}{_range(node)}"
    if kind == "array":
        items = words(node.get("items", {}), root)
        least, most = node.get("minItems"), node.get("maxItems")
        count = f"{least} " if least is not None and least == most else ""
        for one, several in PLURALS.items():
            items = items.replace(one, several)
        return f"a list of {count}{items}"
    named = {"boolean": "true or false", "string": "a text", "null": "null", "object": "a mapping"}
    return named.get(str(kind), "a value")


def _range(node: Schema) -> str:
    low, above = node.get("minimum"), node.get("exclusiveMinimum")
    high, below = node.get("maximum"), node.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f" from {_figure(low)} to {_figure(high)}"
    lower = f" of at least {_figure(low)}" if low is not None else ""
    lower = f" above {_figure(above)}" if above is not None else lower
    if below is not None:
        return f"{lower}{' and' if lower else ''} below {_figure(below)}"
    return f"{lower}{', at most ' if lower else ' of at most '}{_figure(high)}" if high is not None else lower


def _figure(number: float) -> str:
    return f"{number:g}" if isinstance(number, float) else str(number)
