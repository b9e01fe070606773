"""Seconds of things that are measured side by side."""

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from statistics import median
from typing import Any

import torch

Moment = tuple[float, float]
"""Seconds on a clock, and those that the processors have worked for this process."""


def now() -> Moment:
    """Read both clocks."""
    return time.perf_counter(), time.process_time()


def finish(device: torch.device) -> None:
    """Wait until the device has done what was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(work: Callable[[], Any], device: torch.device) -> float:
    """How long `work` takes."""
    gc.collect()
    finish(device)
    start = time.perf_counter()
    work()
    finish(device)
    return time.perf_counter() - start


def alternate(tasks: Mapping[str, Callable[[], Any]], repeats: int, device: torch.device) -> dict[str, list[float]]:
    """Do the tasks in turn, so that what else the machine does hits all of them; seconds of each, repeat by repeat."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(repeats):
        for name, work in tasks.items():
            seconds[name].append(seconds_of(work, device))
    return seconds


@contextmanager
def torch_as_imported() -> Iterator[None]:
    """Without the deterministic algorithms that a trainer before may have switched on for the whole process."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def spread(values: list[float]) -> str:
    """Median and range, for a table."""
    low, middle, high = min(values), median(values), max(values)
    digits = 0 if middle >= 100 else 1 if middle >= 10 else 2
    if len(values) == 1:
        return f"{middle:.{digits}f}"
    return f"{middle:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"
