"""Failures of the machine rather than the program: a full disk, memory that ran out, and what to do about it.

Imported at every start, so without heavy imports.
"""

import errno
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transferkit.errors import worker_died

REPORT_SECONDS = 1.0
"""Time in which the system reports that a process has died, after its connections have broken."""

NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
MENDABLE = {errno.EACCES, errno.EEXIST, errno.EFBIG, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EPERM, errno.EROFS}
MENDABLE |= NO_SPACE
NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory")
"""In the messages of torch's RuntimeErrors, of a CPU and of other devices."""


def is_broken_connection(error: BaseException) -> bool:
    """Whether a connection to another process, or to another machine, ended early."""
    return isinstance(error, ConnectionError | EOFError)


def death_behind(error: BaseException) -> BaseException:
    """Return the error that says that a process that loads images died, if `error` is a broken connection to it.

    Its connections break before its death is reported (SIGCHLD, for which torch's handler raises an error), and the
    report would interrupt whatever handles `error`. Any other error is returned as it is.
    """
    if not is_broken_connection(error):
        return error
    try:
        time.sleep(REPORT_SECONDS)
    except RuntimeError as reported:
        if worker_died(reported):
            return reported
        raise
    # The report was made where no error can be raised, in a destructor; only processes that load images are connected.
    frames = traceback.extract_tb(error.__traceback__)
    broken = any("multiprocessing" in Path(frame.filename).parts for frame in frames)
    return RuntimeError("DataLoader worker is killed: its connection broke") if broken else error


@contextmanager
def reports_in_destructors_hidden() -> Iterator[None]:
    """Within it, torch's report of the death of a process is not printed where Python cannot raise it."""
    shown = sys.unraisablehook

    def hook(unraisable: "sys.UnraisableHookArgs") -> None:
        if unraisable.exc_value is None or not worker_died(unraisable.exc_value):
            shown(unraisable)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = shown


@contextmanager
def deaths_raise_nothing() -> Iterator[None]:
    """Within it, the death of a process that loads images interrupts nothing."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGCHLD"):
        yield  # torch has no handler there
        return
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, handler or signal.SIG_DFL)


def plain_reason(error: BaseException) -> str | None:
    """Return one message with the cause and a remedy, if the machine caused `error`; else None.

    The errors that it was raised from, or while handling which it was raised, are examined too.
    """
    seen: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in seen:
        told = _reason(current)
        if told:
            return told
        seen.append(current)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return None


def _reason(error: BaseException) -> str | None:
    if isinstance(error, OSError) and error.errno in MENDABLE:
        where = f" ({error.filename})" if error.filename else ""
        if error.errno in NO_SPACE:
            return (
                f"{error.strerror}{where}: free some space, or use another disk; hydra.run.dir=DIR sets the folder of "
                "a run, cache.dir=DIR that of computed features."
            )
        if error.errno == errno.EFBIG:
            return f"{error.strerror}{where}: the system limits the size of a file (ulimit -f), or the disk does."
        return f"{error.strerror}{where}. hydra.run.dir=DIR sets where a run is written."
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return f"{error.strerror}: raise the limit (ulimit -n), or use fewer trainer.num_workers."
    if isinstance(error, OSError) and error.errno is not None and error.errno != errno.ENOMEM:
        return f"The system refused: {error.strerror}{f' ({error.filename})' if error.filename else ''}."
    if isinstance(error, RecursionError):
        return "The configuration, or a file, is nested too deeply."
    return _no_memory(error) if _is_no_memory(error) else worker_died(error)


def _is_no_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # the latter torch's, for a GPU
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in NO_MEMORY)


def _no_memory(error: BaseException) -> str:
    detail = str(error).splitlines()[0][:200] if str(error) else ""
    return (
        f"Memory ran out{f' ({detail})' if detail else ''}: a smaller trainer.batch_size, or fewer "
        "trainer.num_workers, takes less."
    )
