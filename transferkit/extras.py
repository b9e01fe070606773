"""Packages that only some tasks need, and that an extra installs."""

from importlib import import_module
from typing import Any

from transferkit.errors import TransferkitError


def import_extra(need: str, extra: str, *modules: str, otherwise: str = "") -> tuple[Any, ...]:
    """Import modules of an extra.

    Args:
        need: What needs which package, for the message: "task.format=parquet needs pyarrow".
        extra: Its name, as in `transferkit[extra]`.
        *modules: Their names.
        otherwise: The rest of the message.

    Raises:
        TransferkitError: One is not installed; with the command that installs the extra.
    """
    try:
        return tuple(import_module(name) for name in modules)
    except ImportError as error:
        raise TransferkitError(f"{need}: python -m pip install 'transferkit[{extra}]'{otherwise}.") from error
