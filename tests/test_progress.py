import io
import logging

import pytest
from rich.console import Console

import transferkit.progress
from transferkit.progress import progress


class Clock:
    """Stands for the time module."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(transferkit.progress, "time", clock)
    return clock


def work(clock: Clock, seconds: int, fails_at: int | None = None) -> None:
    with progress("Reading", seconds) as advance:
        for second in range(seconds):
            if second == fails_at:
                raise RuntimeError
            clock.now += 1
            advance(1)


def use_console(monkeypatch, terminal: bool) -> io.StringIO:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=terminal, width=80)
    monkeypatch.setattr(transferkit.progress, "Console", lambda stderr: console)
    return screen


def test_lines_at_most_every_ten_seconds(clock, monkeypatch, caplog):
    use_console(monkeypatch, terminal=False)
    caplog.set_level(logging.INFO)
    work(clock, 30)
    assert caplog.messages == [
        "Reading: 2 of 30, about 28 s left",
        "Reading: 12 of 30, about 18 s left",
        "Reading: 22 of 30, about 8 s left",
        "Reading: 30 of 30 in 30 s",
    ]


@pytest.mark.parametrize("terminal", [True, False])
def test_quick_work_is_silent(clock, monkeypatch, caplog, terminal):
    screen = use_console(monkeypatch, terminal)
    caplog.set_level(logging.INFO)
    work(clock, 1)
    assert not caplog.messages
    assert "Reading" not in screen.getvalue()


def test_a_terminal_gets_a_bar_and_no_lines(clock, monkeypatch, caplog):
    screen = use_console(monkeypatch, terminal=True)
    caplog.set_level(logging.INFO)
    work(clock, 5)
    assert not caplog.messages
    assert "Reading" in screen.getvalue()
    assert "5/5" in screen.getvalue()


def test_an_error_passes_and_claims_no_end(clock, monkeypatch, caplog):
    use_console(monkeypatch, terminal=False)
    caplog.set_level(logging.INFO)
    with pytest.raises(RuntimeError):
        work(clock, 30, fails_at=5)
    assert caplog.messages == ["Reading: 2 of 30, about 28 s left"]
