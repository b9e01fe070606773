"""The base class of the configuration's nodes, and common types of values.

pydantic checks types, ranges and unknown keys; its own messages name neither the key as it is typed nor the range, so
`mistakes` rewrites them. OmegaConf's structured configurations were considered: they support neither ranges nor unions.
"""

import os
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

BIGGEST_SEED = 2**32 - 1


class Node(BaseModel):
    """A mapping with known keys only. Values are not converted: "3" is not a number, 1 is not true; nan is refused."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, given: Any) -> Any:
        """In a library call a mapping may be of any kind, and a list may be a tuple."""
        if not isinstance(given, Mapping):
            return given
        return {str(key): list(value) if isinstance(value, tuple) else value for key, value in given.items()}


def _text(value: Any) -> Any:
    """A folder or a column may be called 2024, which the command line reads as a number; a library call has paths."""
    return str(value) if isinstance(value, int | os.PathLike) and not isinstance(value, bool) else value


Text = Annotated[str, BeforeValidator(_text), Field(min_length=1, max_length=4096, description="a text")]
Path = Annotated[str, BeforeValidator(_text), Field(min_length=1, pattern=r"^[^\x00]+$", description="a path")]
Seed = Annotated[int, Field(ge=0, le=BIGGEST_SEED, description="a whole number from 0 to 2^32 - 1")]
Batch = Annotated[int, Field(ge=1, le=65536)]
Epochs = Annotated[int, Field(ge=1, le=100_000)]
Steps = Annotated[int, Field(ge=0, le=100_000_000)]
Rate = Annotated[float, Field(gt=0, le=100)]
"""A learning rate."""
Smoothing = Annotated[float, Field(ge=0, lt=1)]
Images = Annotated[int, Field(ge=1, le=1_000_000_000)]
