"""Text for a terminal: lines that fit its width, never broken inside a path, and one result that stands out.

Elsewhere (a pipe, a file, a scheduler's log) lines stay as they are. Imported at every start, so rich is only imported
where there is a terminal.
"""

import logging
import re
import shutil
import sys
from collections.abc import Iterator
from typing import TextIO

from transferkit.cli.log_lines import EscapingFormatter, escaped_lines

NARROWEST = 40
"""Characters to which lines are broken at least."""

COMMANDS = ("python -m transferkit ", "transferkit ")
"""Beginnings of commands, which can be copied when they are broken, too."""

RESULT_STYLE = "bold green"


class ScreenFormatter(EscapingFormatter):
    """Breaks lines for a terminal, and emphasises the one that begins with the record's `result`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines of a record as they are shown on standard output."""
        text = super().format(record)
        if not on_terminal(sys.stdout):
            return text
        result = getattr(record, "result", None)
        lines = (fit_width(line, _width()) for line in text.split("\n"))
        return "\n".join(
            _emphasised(shown) if result and shown.lstrip().startswith(result) else shown for shown in lines
        )


def screen_text(text: str, stream: TextIO) -> str:
    """Return a message as it is shown on a stream: no control characters; lines that fit, on a terminal."""
    text = escaped_lines(text)
    return "\n".join(fit_width(line, _width()) for line in text.split("\n")) if on_terminal(stream) else text


def on_terminal(stream: TextIO) -> bool:
    """Whether a stream is a terminal, by rich's rules (TTY_COMPATIBLE, FORCE_COLOR)."""
    if not stream.isatty():
        return False
    from rich.console import Console

    return Console(file=stream).is_terminal


def fit_width(line: str, width: int) -> str:
    """Break a line at spaces so that it fits; what has no spaces, such as a path, is never broken.

    The rest of `  label      value` stands below the value, or, where a word of it does not fit there, further left. A
    command gets a backslash at the end of each line but the last, so that it can be copied. Rows of tables, which have
    several columns, are left as they are.

    Args:
        line: Without line breaks.
        width: Characters; at least `NARROWEST`.
    """
    width = max(width, NARROWEST)
    if len(line) <= width or len(re.findall(r"\S {2,}(?=\S)", line)) > 2:
        return line
    start = re.match(r" *(?:[-*] +|(?:\S+ )*?\S+ {2,})?", line)
    label = start[0] if start and len(start[0]) <= width // 2 else ""
    value = line[len(label) :]
    command = value.startswith(COMMANDS)
    lines = _broken(label, value, width - 2 * command, " \\" if command else "")
    return "\n".join(lines).replace("\0", " ")


def _broken(label: str, value: str, width: int, mark: str) -> Iterator[str]:
    """Yield the lines of a value behind its label; `mark` ends each but the last."""
    words = re.sub(r"(?<=\d) (?=(?:%|s|min|h|GB|MB)(?:\W|$))", "\0", value).split(" ")  # a number and its unit
    indent = len(label) if label.strip() else len(value) - len(value.lstrip()) + 2
    line, empty = label, True
    for word in words:
        fits = len(line) + (0 if empty else 1) + len(word) <= width
        if not fits and (not empty or label.strip()) and line.strip():
            yield line.rstrip() + ("" if empty else mark)
            indent = indent if indent + len(word) <= width else min(indent, 4)
            line, empty = " " * indent, True
        line, empty = (line + word if empty else f"{line} {word}"), False
    yield line


def _emphasised(line: str) -> str:
    from rich.console import Console
    from rich.text import Text

    console = Console(file=sys.stdout)  # which knows NO_COLOR, and terminals without colours
    with console.capture() as capture:
        console.print(Text(line, RESULT_STYLE), soft_wrap=True, end="")
    return capture.get()


def _width() -> int:
    return shutil.get_terminal_size((80, 24)).columns
