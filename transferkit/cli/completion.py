"""Tab completion: sub-commands, run directories, folders and names here; groups, choices and keys by Hydra.

`-sc install=bash` prints the script for bash, for `transferkit` and for `python -m transferkit`; Hydra's own knows only
the former, and no words without `=`.
"""

import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from transferkit.cli.commands import COMMANDS, Argument, rewrite, split_words
from transferkit.cli.latest import LATEST, newest_runs
from transferkit.config.choice_files import choices
from transferkit.errors import TransferkitError

MOST = 40
"""Run directories that are suggested, the newest."""

SCRIPT = r"""_transferkit_complete() {
    local line=${COMP_LINE:0:COMP_POINT} command word prefix one ones
    case ${COMP_WORDS[0]##*/} in
        python*)
            if [[ ${COMP_WORDS[1]} != -m || ${COMP_WORDS[2]} != transferkit ]]; then
                [[ -n $_transferkit_before ]] && "$_transferkit_before" "$@"
                return
            fi
            command=("${COMP_WORDS[0]}" -m transferkit) ;;
        *) command=("${COMP_WORDS[0]}") ;;
    esac
    word=${line##* }
    prefix=${word%"${word##*[=:]}"}  # bash replaces only what follows the last = or :
    [[ $COMP_WORDBREAKS == *=* ]] || prefix=
    COMPREPLY=()
    while read -ra ones; do
        for one in "${ones[@]}"; do
            [[ $one == "$word"* ]] && COMPREPLY+=("${one#"$prefix"}")
        done
    done < <(COMP_LINE=$line COMP_POINT=$COMP_POINT "${command[@]}" -sc query=bash 2>/dev/null)
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} != *[=./] ]] || compopt -o nospace 2>/dev/null
}
"""

CHAIN = """_transferkit_before=$(complete -p python 2>/dev/null | sed -n 's/.* -F \\([^ ]*\\) .*/\\1/p')
[[ $_transferkit_before == _transferkit_complete ]] && _transferkit_before=
"""
"""Keeps what completed other uses of python."""


def complete() -> None:
    """Answer `-sc install=bash`, `uninstall=bash` or `query=SHELL` of this process's command line."""
    action, _, shell = next((word for word in sys.argv[1:] if "=" in word), "").partition("=")
    if action == "query":
        _answer(os.environ.get("COMP_LINE", ""))
    elif shell == "bash" and action in ("install", "uninstall"):
        names = ["python", "python3"] if sys.argv[0].endswith(".py") else [Path(sys.argv[0]).name]
        print(install_script(names) if action == "install" else f"complete -r {' '.join(names)}")
    else:
        _hydra()


def install_script(names: Sequence[str]) -> str:
    """Return the script for bash that completes the commands of these names."""
    chain = CHAIN if "python" in names else ""
    return f"{SCRIPT}{chain}complete -o default -o bashdefault -F _transferkit_complete {' '.join(names)}"


def suggestions(words: Sequence[str], word: str) -> tuple[list[str], bool]:
    """Return what may stand in the place of a word that is being typed, and whether Hydra may know more.

    Args:
        words: Those before it, without the program.
        word: As far as it is typed.
    """
    key, sign, value = word.partition("=")
    if sign:
        runs = _runs(value) if key in ("run", "backbone.weights") else []
        return [f"{key}={run}" for run in runs if key == "run" or run != LATEST], not runs
    bare, _ = split_words(words)
    if not bare:
        return [name for name in COMMANDS if name.startswith(word)], bool(word)
    argument = next_argument(bare)
    if argument is None or argument.name not in SUGGESTED:
        return [], True
    return list(SUGGESTED[argument.name](word)), bool(word)


def next_argument(bare: Sequence[str]) -> Argument | None:
    """Return the argument that the next word after a sub-command and its words would be; None where there is none."""
    arguments = COMMANDS[bare[0]].arguments if bare[0] in COMMANDS else ()
    place = len(bare) - 1
    if place < len(arguments):
        return arguments[place]
    return arguments[-1] if arguments and arguments[-1].many else None


def _answer(line: str) -> None:
    """Print the suggestions for a line that ends where the cursor is."""
    try:
        typed = shlex.split(line)
    except ValueError:  # a quote that is still open
        typed = line.split()
    typed = typed[3:] if typed[1:3] == ["-m", "transferkit"] else typed[1:]
    word = "" if line[-1:].isspace() or not typed else typed[-1]
    words = typed[: len(typed) - bool(word)]
    found, more = suggestions(words, word)
    print("\n".join(one for one in found if not any(c.isspace() for c in one)))
    if not more:
        return
    try:
        words = rewrite(words).arguments
    except TransferkitError:  # what is typed so far is not complete
        words = split_words(words)[1]
    os.environ["COMP_LINE"] = " ".join(["transferkit", *words, word])
    _hydra()


def _hydra() -> None:
    from transferkit.cli.app import run

    run()


def _runs(word: str) -> Iterator[str]:
    yield from (run for run in [LATEST, *map(str, islice(newest_runs(Path("runs")), MOST))] if run.startswith(word))


def _folders(word: str) -> Iterator[str]:
    start, _, name = word.rpartition("/")
    place = Path(f"{start}/" if "/" in word else ".").expanduser()
    if place.is_dir():
        for folder in sorted(place.iterdir()):
            if folder.name.startswith(name) and folder.name[0] != "." and folder.is_dir():
                yield f"{start}/{folder.name}/" if "/" in word else f"{folder.name}/"


def _data(word: str) -> Iterator[str]:
    yield from _folders(word)
    yield from (name for name in choices("dataset") if name.startswith(word))


def _backbones(word: str) -> Iterator[str]:
    yield from (name for name in choices("backbone") if name.startswith(word))


SUGGESTED: dict[str, Callable[[str], Iterator[str]]] = {
    "PHOTOS": _data,
    "RUN_DIR": _runs,
    "IMAGES": _folders,
    "DIR": _folders,
    "BACKBONE": _backbones,
}
"""Name of an argument to what it may be."""
