"""A thread pool map for work on many files."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TypeVar

from transferkit.progress import Advance

Item = TypeVar("Item")
Result = TypeVar("Result")
_BATCH = 32  # a future per file would need more memory than the result when there are millions


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
