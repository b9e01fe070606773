"""Progress of long work: a bar in a terminal, log lines elsewhere, nothing for short work; and work on many files."""

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from itertools import chain
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

log = logging.getLogger(__name__)

QUIET_SECONDS = 2.0
LOG_EVERY_SECONDS = 10.0
_BATCH = 32  # items a future: one for each would need more memory than the result when there are millions

Item = TypeVar("Item")
Result = TypeVar("Result")

Advance = Callable[[int], None]
"""Called with the number of items done since the last call."""


def progress(label: str, total: int) -> AbstractContextManager[Advance]:
    """Show the progress of the block's work, once it has lasted two seconds.

    If standard error is a terminal it shows a bar, which is removed at the end; otherwise the log gets a line at most
    every ten seconds and one at the end.

    Args:
        label: Description of the work: "Extracting stage5".
        total: Number of items.

    Returns:
        A context whose value is called with the number of items just done.
    """
    console = Console(stderr=True)
    return _bar(label, total, console) if console.is_terminal else _lines(label, total)


@contextmanager
def _bar(label: str, total: int, console: Console) -> Iterator[Advance]:
    shown = Column(ratio=1, no_wrap=True, overflow="ellipsis")  # what is too long for the terminal is cut, not wrapped
    description = TextColumn("{task.description}", table_column=shown)
    columns = description, BarColumn(20), MofNCompleteColumn(), TimeRemainingColumn()
    bar = Progress(*columns, console=console, transient=True, expand=True)
    task = bar.add_task(label, total=total)
    start = time.monotonic()

    def advance(count: int) -> None:
        bar.advance(task, count)
        if time.monotonic() - start >= QUIET_SECONDS:
            bar.start()  # does nothing when it is started already

    try:
        yield advance
    finally:
        bar.stop()


@contextmanager
def _lines(label: str, total: int) -> Iterator[Advance]:
    start = time.monotonic()
    next_line = start + QUIET_SECONDS
    done = 0

    def advance(count: int) -> None:
        nonlocal done, next_line
        done += count
        now = time.monotonic()
        if now >= next_line and done < total:
            left = (now - start) / done * (total - done) if done else float("nan")
            log.info("%s: %d of %d, about %.0f s left", label, done, total, left)
            next_line = now + LOG_EVERY_SECONDS

    yield advance
    seconds = time.monotonic() - start
    if seconds >= QUIET_SECONDS:
        log.info("%s: %d of %d in %.0f s", label, done, total, seconds)


def map_threads(function: Callable[[Item], Result], items: Sequence[Item], progress: Advance | None) -> list[Result]:
    """Apply a function that mostly reads, hashes or decodes (all of which release the GIL) to many items, in order."""

    def run(batch: Sequence[Item]) -> list[Result]:
        return [function(item) for item in batch]

    batches = [items[start : start + _BATCH] for start in range(0, len(items), _BATCH)]
    with ThreadPoolExecutor(max_workers=min(32, 2 * (os.cpu_count() or 1))) as pool:
        return list(chain.from_iterable(_report(pool.map(run, batches), progress)))


def _report(results: Iterable[list[Result]], progress: Advance | None) -> Iterator[list[Result]]:
    for result in results:
        if progress is not None:
            progress(len(result))
        yield result
