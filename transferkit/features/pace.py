"""When computed rows are written."""

import time

KEEP_BYTES = 64_000_000
KEEP_SECONDS = 5.0


class Pace:
    """Says when computed rows are to be written: no more than this is lost with a killed process."""

    def __init__(self) -> None:
        self._at = time.monotonic()

    def due(self, waiting: int) -> bool:
        """Whether so many bytes, or so long a time since it last was so, are enough."""
        due = waiting >= KEEP_BYTES or time.monotonic() - self._at >= KEEP_SECONDS
        self._at = time.monotonic() if due else self._at
        return due
