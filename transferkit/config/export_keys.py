"""The keys of the node `export`, of task=export."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from transferkit import choices
from transferkit.config.node import Node

Formats = Annotated[list[choices.ExportFormat], Field(min_length=1, max_length=len(choices.EXPORT_FORMATS))]
Repository = Annotated[
    str, Field(max_length=200, pattern=r"^[\w.-]+/[\w.-]+$", description="a repository of the hub, user/name")
]


class Export(Node):
    """The node `export`."""

    format: choices.ExportFormat | Formats = "onnx"
    int8: bool = False
    images: int = Field(32, ge=1, le=10_000)
    push: Repository | None = None


def formats(export: Mapping[str, Any]) -> list[str]:
    """Return the formats of the node `export`, each once, in the order given."""
    given = export["format"]
    return [given] if isinstance(given, str) else list(dict.fromkeys(given))
