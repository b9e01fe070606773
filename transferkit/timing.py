"""Timing of the steps of a run."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class StepTimer:
    """Wall-clock seconds of named steps; a step that is entered twice adds up."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._steps: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Count the time spent inside under `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._steps[name] = self._steps.get(name, 0.0) + time.perf_counter() - start

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each step, and `total` since this timer was created."""
        return {"total": time.perf_counter() - self._start, **self._steps}
