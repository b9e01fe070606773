"""The pace of writing computed rows."""

import time

KEEP_BYTES = 64_000_000
KEEP_SECONDS = 5.0


class Pace:
    """Decides when computed rows are written, which bounds the loss when a process is killed."""

    def __init__(self) -> None:
        self._at = time.monotonic()

    def due(self, waiting: int) -> bool:
        """Whether the bytes, or the time since the last write, require writing."""
        due = waiting >= KEEP_BYTES or time.monotonic() - self._at >= KEEP_SECONDS
        self._at = time.monotonic() if due else self._at
        return due
