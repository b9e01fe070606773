"""The keys of the node `inspect`, of task=inspect."""

from typing import Annotated, Literal

from pydantic import Field

from transferkit.config.node import Node, Text

Names = Annotated[list[Text], Field(min_length=1, max_length=200)]


class Inspect(Node):
    """The node `inspect`."""

    what: Literal["network", "initialisation"] = "network"
    images: int = Field(0, ge=0, le=100_000)
    unfold: Literal["all"] | Names | None = None
    compare: Names | None = None
    speed: bool = True
