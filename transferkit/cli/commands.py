"""Sub-commands: `transferkit fit photos/ epochs=5` becomes `task=fit dataset=folder dataset.root=photos/ epochs=5`.

Imported at every start, so without heavy imports.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from transferkit.cli.latest import LATEST, latest_run
from transferkit.config.choice_files import GROUPS, choices, top_level_keys
from transferkit.config.wording import close_matches
from transferkit.errors import TransferkitError, shown_text

TABLES = (".csv", ".tsv", ".txt")
"""Suffixes of a table that lists images."""

WITH_VALUE = (
    *("--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd"),
    *("--experimental-rerun",),
)
"""Hydra's flags whose value is the next word."""

WITHOUT_EPOCHS = "linear_probe"
"""The default strategy, which is solved exactly; where `epochs` or `lr` is given, `WITH_EPOCHS` takes its place."""
WITH_EPOCHS = "finetune_few"


@dataclass(frozen=True)
class Argument:
    """A word after a sub-command that is neither key=value nor a flag.

    Attributes:
        name: In the usage line.
        text: What it is, for --help.
        overrides: From its words to overrides.
        key: The first key that these set, which may be given instead.
        required: Whether the word, or the key, must be there.
        many: Whether there may be several words.
        default: The words where there are none and the key is not given either.
    """

    name: str
    text: str
    overrides: Callable[[Sequence[str]], list[str]]
    key: str
    required: bool = False
    many: bool = False
    default: tuple[str, ...] = ()


@dataclass(frozen=True)
class Command:
    """A sub-command: a line on what it does, and its arguments in order; its name is that of its task."""

    text: str
    arguments: tuple[Argument, ...] = ()


def quoted(text: str) -> str:
    """Return text as a value that Hydra reads as this very text, in quotes where it needs them."""
    plain = re.fullmatch(r"[A-Za-z_./][A-Za-z0-9_./+-]*", text) and not re.match(r"\.\d", text)
    if plain and text.lower() not in ("null", "true", "false", "nan", "inf"):
        return text
    escaped = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)  # no interpolation
    return "'" + re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), escaped) + "'"


def _data(words: Sequence[str]) -> list[str]:
    """A folder, a table, or the name of a data set; what is on the disk comes first."""
    word = words[0]
    path = Path(word).expanduser()
    if path.is_dir():
        return ["dataset=folder", f"dataset.root={quoted(word)}"]
    if path.is_file() and path.suffix.lower() in TABLES:
        return ["dataset=csv", f"dataset.file={quoted(word)}"]
    if path.exists():
        raise TransferkitError(
            f"{shown_text(word)} is a file: give a folder with one sub-folder per class, or a table "
            f"({', '.join(TABLES)}) of images and their labels."
        )
    names = choices("dataset")
    if word in names:
        return [f"dataset={word}"]
    beside = [str(other) for other in sorted(path.parent.glob("*")) if other.is_dir()] if path.parent.is_dir() else []
    near = close_matches(word.rstrip("/"), [*beside[:1000], *names])
    hint = f" Did you mean {shown_text(' or '.join(near))}?" if near else ""
    raise TransferkitError(f"{shown_text(word)}: there is no such folder or table, and no data set of that name.{hint}")


def _run(words: Sequence[str]) -> list[str]:
    if words[0] == LATEST:
        return [f"run={LATEST}"]
    if not Path(words[0]).expanduser().is_dir():
        raise TransferkitError(
            f"{shown_text(words[0])}: there is no such run directory; `{LATEST}` stands for the last one below runs/."
        )
    return [f"run={quoted(words[0])}"]


def _listed(key: str) -> Callable[[Sequence[str]], list[str]]:
    def overrides(words: Sequence[str]) -> list[str]:
        values = ",".join(map(quoted, words))
        return [f"{key}={values if len(words) == 1 else f'[{values}]'}"]

    return overrides


def _networks(words: Sequence[str]) -> list[str]:
    return [f"backbone={words[0]}"] if len(words) == 1 else [f"inspect.compare=[{','.join(map(quoted, words))}]"]


DATA = Argument("PHOTOS", "a folder of class folders, a table (.csv) or the name of a data set", _data, "dataset")
RUN = Argument("RUN_DIR", f"the run directory of a fit; {LATEST}: the last one below runs/", _run, "run", True)
IMAGES = Argument("IMAGES", "folders, files or quoted globs of images", _listed("images"), "images", True, True)
RUNS = Argument("DIR", "folders that hold run directories, such as multirun", _listed("runs"), "runs", True, True)
ALL_RUNS = replace(RUNS, text=f"{RUNS.text}; by default runs", required=False, default=("runs",))
BACKBONES = Argument("BACKBONE", "a network; several are set beside each other", _networks, "backbone", many=True)

COMMANDS = {
    "fit": Command("fit a strategy to images, evaluate it on held-out ones, write a report", (DATA,)),
    "advise": Command("measure the images with a backbone, recommend a strategy", (DATA,)),
    "check": Command("look for duplicates, suspected label errors, outliers", (DATA,)),
    "predict": Command("classify images with a fitted model", (RUN, IMAGES)),
    "demo": Command("a local page to try a fitted model with pictures", (RUN,)),
    "evaluate": Command("metrics of a fitted model on its test split, or on other images", (RUN, DATA)),
    "fuse": Command("join fitted models: mean of probabilities, or of weights", (RUNS,)),
    "compare": Command("compare the finished runs below a folder", (ALL_RUNS,)),
    "export": Command("write a fitted model as ONNX or for other programs", (RUN,)),
    "inspect": Command("the layers of a network, and what training them needs", (BACKBONES,)),
    "search": Command("search strategy, rates and augmentation with Optuna, by val", (DATA,)),
    "embed": Command("features of images as an array, for search and clustering", (IMAGES,)),
    "pretrain": Command("train a backbone from random weights", (DATA,)),
    "cache": Command("list or clear the cache of features"),
}
"""Task to sub-command, in the order of --help."""


@dataclass(frozen=True)
class Rewritten:
    """Overrides and flags for Hydra, and lines that say what was filled in."""

    arguments: list[str]
    notes: list[str]


def rewrite(arguments: Sequence[str]) -> Rewritten:
    """Return the command line of the Hydra application for one that may have a sub-command.

    Without a sub-command only `run=latest` is replaced. The folders that are named must exist.

    Raises:
        TransferkitError: A word is neither a sub-command, its argument, key=value nor a flag; or one is missing.
    """
    words, others = split_words(arguments)
    if not words:
        return _with_latest(others)
    name, *rest = words
    if name not in COMMANDS:
        raise TransferkitError(unknown_word(name))
    keys = {other.lstrip("+~").split("=")[0] for other in others}
    if "task" in keys:
        raise TransferkitError(f"The sub-command {name} is task={name}: leave out task=, or the sub-command.")
    filled = _fill(name, rest, keys)
    notes: list[str] = []
    short = [key for key in ("epochs", "lr") if key in keys]
    if name == "fit" and short and not keys & {"strategy", "experiment"}:
        filled.append(f"strategy={WITH_EPOCHS}")
        notes.append(
            f"strategy={WITH_EPOCHS}, since {' and '.join(short)} {'are' if len(short) > 1 else 'is'} given and the "
            f"default, {WITHOUT_EPOCHS}, is solved exactly; strategy=full_finetune trains every layer."
        )
    found = _with_latest([f"task={name}", *filled, *others])
    return Rewritten(found.arguments, [*notes, *found.notes])


def split_words(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the words (sub-command, paths, names) and the rest (key=value and Hydra's flags), each in order.

    A path may have `=` in its name: it is a word where it exists and does not begin with a key, or begins like a path.
    """
    words, others = list[str](), list[str]()
    after_flag = False
    for argument in arguments:
        if after_flag or argument.startswith("-") or _is_override(argument):
            others.append(argument)
            after_flag = not after_flag and argument in WITH_VALUE
        else:
            words.append(argument)
    return words, others


def _is_override(argument: str) -> bool:
    if argument.startswith(("./", "../", "/", "~/")):
        return False
    if argument.startswith(("~", "+")):
        return True
    first = re.split(r"[.@=:/]", argument, maxsplit=1)[0]
    return "=" in argument and (first in _keys() or not Path(argument).exists())


def _keys() -> set[str]:
    return {*GROUPS, *top_level_keys(), "hydra"}


def usage(name: str) -> str:
    """Return the sub-command with its arguments: "transferkit predict RUN_DIR IMAGES ..."."""
    shown = [f"{one.name}{' ...' if one.many else ''}" for one in COMMANDS[name].arguments]
    required = [one.required for one in COMMANDS[name].arguments]
    listed = (one if needed else f"[{one}]" for one, needed in zip(shown, required, strict=True))
    return " ".join(["transferkit", name, *listed, "[key=value ...]"])


def _fill(name: str, words: Sequence[str], keys: set[str]) -> list[str]:
    """Give the words to the arguments of a sub-command, and return their overrides."""
    rest, filled = list(words), list[str]()
    for argument in COMMANDS[name].arguments:
        count = len(rest) if argument.many else min(1, len(rest))
        mine, rest = rest[:count], rest[count:]
        if mine and argument.key in keys and argument.required:
            mine, rest = [], [*mine, *rest]  # given as a key: the words are for the next argument
        if not mine and argument.key not in keys:
            mine = list(argument.default)
        if mine:
            new = argument.overrides(mine)
            twice = keys & {override.split("=")[0] for override in new}
            if twice:
                raise TransferkitError(
                    f"{shown_text(' '.join(mine))} sets {min(twice)}, and {min(twice)}=... does so, too: give one."
                )
            filled += new
        elif argument.required and argument.key not in keys:
            raise TransferkitError(f"{name}: {argument.name} is missing, {argument.text}. Usage: {usage(name)}")
    if rest:
        raise TransferkitError(
            f"{name}: {shown_text(' '.join(rest))} is more than it takes. Usage: {usage(name)}. "
            "A setting has the form key=value."
        )
    return filled


def _with_latest(arguments: Sequence[str]) -> Rewritten:
    """Put the last run directory in the place of `run=latest`."""
    if f"run={LATEST}" not in arguments:
        return Rewritten(list(arguments), [])
    found = latest_run(Path("runs"))
    kept = [f"run={quoted(str(found))}" if argument == f"run={LATEST}" else argument for argument in arguments]
    return Rewritten(kept, [f"{LATEST}: {found}"])


def unknown_word(word: str) -> str:
    """Return the message about a word that is no sub-command."""
    shown = shown_text(word)
    if re.split(r"[.@:/]", word, maxsplit=1)[0] in _keys():
        return f"{shown}: a setting has the form key=value, {shown}=VALUE; --help lists the keys."
    if Path(word).expanduser().is_dir():
        return f"{shown}: a folder stands after a sub-command. Did you mean transferkit fit {shown}?"
    groups = [f"{group}={word}" for group in GROUPS if word in choices(group)]
    near = [f"transferkit {name}" for name in close_matches(word, COMMANDS)]
    hint = f" Did you mean {' or '.join(near or groups)}?" if near or groups else ""
    return (
        f"{shown}: there is no such sub-command.{hint} Sub-commands: {', '.join(COMMANDS)}. "
        "A setting has the form key=value; --help lists both."
    )
