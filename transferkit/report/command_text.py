"""Commands to copy, in the form in which this process was started: `transferkit predict RUN DIR`, or with `task=`."""

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

PROGRAM = "transferkit"
OF_A_RUN = ("predict", "evaluate", "export", "demo")
"""Sub-commands whose first word is a run directory."""
PLAIN = r"[A-Za-z_./][A-Za-z0-9_./+-]*"
"""A value that stands for itself, in Hydra and as a word."""


def command_line() -> str:
    """Return the command line of this process, which repeats the run."""
    return command_of(*sys.argv[1:])


def command_of(*arguments: str) -> str:
    """Return the command line with these arguments; with a sub-command where the program was started as `transferkit`.

    Args:
        *arguments: Overrides and flags of Hydra.
    """
    if Path(sys.argv[0]).name == PROGRAM:
        return shlex.join([PROGRAM, *with_words(arguments)])
    return shlex.join(["python", "-m", PROGRAM, *arguments])


def with_words(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with a sub-command and its words in the place of `task=`, `run=`, `images=` and data.

    The opposite of `transferkit.cli.commands.rewrite`; what would not come back the same stays as it is.
    """
    given = dict(argument.split("=", 1) for argument in arguments if re.match(r"[a-z_.]+=", argument))
    name = given.get("task") or ("fit" if {"strategy", "experiment"} & set(given) else "")
    kept = [argument for argument in arguments if not argument.startswith("task=")]
    short = {"epochs", "lr"} & set(given) and not {"strategy", "experiment"} & set(given)
    if not name or (name == "fit" and short):  # there the sub-command chooses a strategy
        return list(arguments)
    words = [name]

    def move(key: str, *also: str) -> bool:
        taken = [f"{key}={given.get(key, '')}", *also]
        if not re.fullmatch(PLAIN, given.get(key, "")) or any(one not in kept for one in taken):
            return False
        words.append(given[key])
        kept[:] = [one for one in kept if one not in taken]
        return True

    first = name not in OF_A_RUN or move("run")
    if name in ("predict", "embed") and first:
        move("images")
    elif first and not (name in OF_A_RUN and name != "evaluate"):
        _ = move("dataset.root", "dataset=folder") or move("dataset.file", "dataset=csv")
    return [*words, *kept]


def kept_arguments(*dropped: str) -> list[str]:
    """The arguments of this command but those that begin so, for the command of a next step with the same data."""
    return without(sys.argv[1:], *dropped)


def without(arguments: Sequence[str], *dropped: str) -> list[str]:
    """Return the arguments but those that begin so."""
    return [argument for argument in arguments if not argument.startswith(dropped)]


def predict_command(shown: Path) -> str:
    """Return the command that predicts with the run that has just ended.

    Args:
        shown: Its directory, relative to the current folder if it is below it.
    """
    if Path(sys.argv[0]).name == PROGRAM and shown.parts[:1] == ("runs",):
        return f"{PROGRAM} predict latest FOLDER"
    return command_of("task=predict", f"run={shown}", "images=DIR")
