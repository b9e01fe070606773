"""Hydra composes the configuration twice, first only to find `hydra.mode`; here only where that may be set.

Only an experiment may set it, `hydra.mode=` itself, or a file of the user's own (`--config-dir` and the like).
"""

import re
import sys
from typing import Any

from hydra._internal.hydra import Hydra  # hydra-core is pinned to 1.3

MAY_SET_MODE = {"experiment", "hydra", "hydra.mode"}
"""Keys of overrides that may say that the command is a multirun without -m."""
OTHER_FILES = ("--config", "-cd", "-cp", "-cn")
"""How flags begin that bring configuration files of the user."""

_compose_for_mode = Hydra.get_mode


def mode_is_open(overrides: list[str], arguments: list[str]) -> bool:
    """Return whether the configuration may set `hydra.mode`, so that it must be composed to know it.

    Args:
        overrides: Those that Hydra has read from the command line.
        arguments: The whole command line.
    """
    keys = {re.split("[@=]", override.lstrip("+~"), maxsplit=1)[0] for override in overrides}
    return bool(keys & MAY_SET_MODE) or any(argument.startswith(OTHER_FILES) for argument in arguments)


def compose_once() -> None:
    """Spare the first composing in this process, a sixth of a second, where it would find nothing."""

    def get_mode(hydra: Hydra, config_name: str | None, overrides: list[str]) -> Any:
        # Without a mode Hydra goes by its flags: -m or none.
        return _compose_for_mode(hydra, config_name, overrides) if mode_is_open(overrides, sys.argv[1:]) else None

    Hydra.get_mode = get_mode  # type: ignore[assignment, method-assign]
