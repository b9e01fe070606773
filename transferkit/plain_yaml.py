"""Reading of untrusted YAML files as plain data; other features of YAML are refused."""

from pathlib import Path
from typing import Any

import yaml

from transferkit.untrusted import MAX_DEPTH, UnreadableFile, check_plain, read_bytes


class PlainLoader(yaml.SafeLoader):  # type: ignore[misc]
    """PyYAML's safe loader without tags, anchors and dates; a duplicate key is an error.

    Nested aliases can expand a few lines to gigabytes; Hydra writes none.
    """

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose, but refuse anchors, aliases, tags and deep nesting."""
        event = self.peek_event()
        if getattr(event, "anchor", None) is not None:
            raise yaml.YAMLError("anchors and aliases are not allowed here")
        if getattr(event, "tag", None) is not None:
            raise yaml.YAMLError(f"the tag {event.tag} is not allowed here")
        if self._depth > MAX_DEPTH:
            raise yaml.YAMLError("nested too deeply")
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Construct, but refuse duplicate keys, and keys that are not text or numbers."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if not all(isinstance(key, str | int | float | bool) or key is None for key in keys):
            raise yaml.YAMLError("a key is no text")
        if len(set(keys)) < len(keys):
            raise yaml.YAMLError("a key stands there twice")
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":timestamp", ":merge", ":value"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_yaml(path: Path, max_bytes: int = 1 << 20) -> dict[str, Any]:
    """Return a YAML mapping of text, numbers, booleans, lists and mappings; interpolations stay text.

    Raises:
        UnreadableFile: As `read_bytes`, or it has a tag, an alias, a number that is not finite, or is too deep.
    """
    value = _read(path, max_bytes)
    if not isinstance(value, dict):
        raise UnreadableFile(path, f"is damaged (a mapping is wanted, not a {type(value).__name__})")
    return value


def read_texts(path: Path, max_bytes: int = 1 << 20) -> list[str]:
    """Return a YAML list of texts, such as the arguments of a command that Hydra records.

    Raises:
        UnreadableFile: As `read_yaml`, or it is no such list.
    """
    value = _read(path, max_bytes)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise UnreadableFile(path, "is damaged (a list of texts is wanted)")
    return value


def _read(path: Path, max_bytes: int) -> Any:
    content = read_bytes(path, max_bytes)
    try:
        value = yaml.load(content, Loader=PlainLoader)
        check_plain(value)
    except RecursionError:
        raise UnreadableFile(path, "is damaged (nested too deeply)") from None
    except (yaml.YAMLError, ValueError) as error:
        raise UnreadableFile(path, f"is damaged ({' '.join(str(error).split())[:200]})") from None
    return value
