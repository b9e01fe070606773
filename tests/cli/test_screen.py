"""Text for a terminal: nothing is broken inside a path, commands can be copied, one line stands out."""

import contextlib
import io
import logging
import shlex
from typing import Any

import pytest

from transferkit.cli.screen import ScreenFormatter, fit_width, screen_text

PATH = "runs/digits/narrow_resnet10/linear_probe/2026-11-24_19-56-19_965557/report.html"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    return Terminal()


def formatted(stream: io.StringIO, text: str, **extra: Any) -> str:
    record = logging.LogRecord("t", logging.INFO, "f", 1, "%s", (text,), None)
    vars(record).update(extra)
    with contextlib.redirect_stdout(stream):
        return ScreenFormatter("%(message)s").format(record)


@pytest.mark.parametrize("width", [40, 80, 100])
@pytest.mark.parametrize(
    "line",
    [
        f"  report              {PATH}",
        f"  time                3.5 s: data 0.1 s, extract 2.1 s, fit 0.5 s, calibrate 0.1 s, evaluate 0.5 s; {PATH}",
        "  - " + "a reason with many words " * 8,
        f"Predictions of 26 images, in the file {PATH}",
        "no_space" * 20,
    ],
)
def test_lines_fit_and_words_stay_whole(line: str, width: int) -> None:
    shown = fit_width(line, width)
    assert shown.split() == line.split()
    for part in shown.split("\n"):
        assert len(part) <= width or len(part.split()) == 1
    assert "\n s" not in shown.replace("  ", "")  # a number keeps its unit


def test_the_rest_stands_below_the_value() -> None:
    shown = fit_width("  val top-1           " + "word " * 20, 80)
    first, second = shown.rstrip().split("\n")[:2]
    assert second.index("word") == first.index("word") == 22


def test_a_broken_command_is_the_same_command() -> None:
    command = f"python -m transferkit task=predict run={PATH} images='my photos' trainer.device=cpu task.coverage=0.9"
    shown = fit_width(f"  predict             {command}", 80)
    assert shown.count("\\\n") > 0
    assert shlex.split(shown.replace("\\\n", ""))[1:] == shlex.split(command)
    assert max(map(len, shown.split("\n"))) <= 4 + len(f"run={PATH}") + 2


def test_rows_of_a_table_are_left_alone() -> None:
    row = (
        "  linear_probe     narrow_resnet10 (resnet_glyphs)    10      3     95.5 ± 1.0     95.5 ± 1.0    93.3   0.7 s"
    )
    assert fit_width(row, 80) == row


def test_one_line_stands_out_and_only_on_a_terminal(terminal: Terminal) -> None:
    text = "\nlinear_probe on digits\n  test top-1    98.89 %\n  val top-1     99.16 %"
    lines = formatted(terminal, text, result="test top-1").split("\n")
    assert [line for line in lines if "\x1b[" in line] == [lines[2]]
    assert "\x1b[1;32m" in lines[2]
    assert formatted(terminal, text) == text
    long = f"{text} {'long ' * 40}"
    assert formatted(io.StringIO(), long, result="test top-1") == long


def test_no_colour_where_it_is_not_wanted(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    line = "  test top-1  98.89 %"
    assert "32m" in formatted(terminal, line, result="test top-1")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "32m" not in formatted(terminal, line, result="test top-1")


def test_a_message_for_standard_error(terminal: Terminal) -> None:
    assert screen_text("a\x1b[31m" + " word" * 30, terminal).startswith("a\\x1b[31m word")
    assert max(map(len, screen_text("word " * 30, terminal).split("\n"))) <= 80
    assert screen_text("word " * 30, io.StringIO()) == "word " * 30
