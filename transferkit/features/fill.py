"""Computing the rows that are missing in the store: the routine for features, activations and pixels.

Rows are computed shard by shard. A job claims the next free shard when it runs out of images, so that any number of
jobs fill the same entries in parallel, each row once. Shards claimed by other jobs are checked again at the end, and
rows that a killed job did not finish are computed then.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import chain
from operator import itemgetter
from typing import Self

import numpy as np
import numpy.typing as npt

from transferkit.arrays import Rows
from transferkit.choices import SHARDS
from transferkit.data.batch_loading import Batch, Source, damaged
from transferkit.data.images import UnreadableImage
from transferkit.errors import TransferkitError
from transferkit.features.claims import Claims
from transferkit.features.identities import Ids, shards_of, to_ids
from transferkit.features.memory_rows import MemoryRows
from transferkit.features.reuse import current_reuse, write_pace
from transferkit.features.store import CacheEntry
from transferkit.features.waiting_rows import Pace, WaitingRows
from transferkit.progress import Advance

log = logging.getLogger(__name__)

ROUNDS = 4
"""Number of attempts to read files that change while they are read."""

POLL_SECONDS = 0.2

Places = npt.NDArray[np.int64]

Compute = Callable[[Batch, Mapping[str, Places]], Mapping[str, Rows]]
"""From a batch, and for each name of rows the positions in the batch whose rows are missing, to these rows."""


@dataclass
class Job:
    """Rows to be filled, and the images that they are computed from.

    Attributes:
        rows: Each kind of rows, by name; the most expensive one last.
        source: The images.
        prepare: Returns the function that computes rows; called once, with the number of images, if any are missing.
        batch_size: Images per batch.
        label: For the progress.
        extra: An entry that gets the inputs of all decoded images.
        share: The shards that this job computes; None for all.
        show: Shows the progress; None for none.
        timed: Whether the time is that of the last kind of rows, so that its entry may note it.
    """

    rows: Mapping[str, CacheEntry | MemoryRows]
    source: Source
    prepare: Callable[[int], Compute]
    batch_size: int
    label: str
    extra: CacheEntry | None = None
    share: range | None = None
    show: Callable[[str, int], AbstractContextManager[Advance]] | None = None
    timed: bool = True

    @property
    def deepest(self) -> CacheEntry | MemoryRows:
        """The most expensive kind of rows."""
        return list(self.rows.values())[-1]


@dataclass
class Counts:
    """Counts of the work.

    Attributes:
        loaded: Images decoded.
        computed: Rows by name.
        written: Bytes written to disk.
    """

    loaded: int = 0
    computed: dict[str, int] = field(default_factory=dict)
    written: int = 0


_INPUTS = "inputs"
"""The name of the rows of `Job.extra`."""


def fill(job: Job, counts: Counts) -> Ids:
    """Compute the rows that are missing; afterwards every kind of rows has those of all images, or of the share.

    Returns:
        The identity of the content of each image (N,) whose row it is.

    Raises:
        TransferkitError: Images cannot be read (all are listed, the rows of the others are stored), or the store cannot
            be read or written.
    """
    for store in (*job.rows.values(), job.extra):
        if isinstance(store, CacheEntry):
            store.open()
    if job.source.ids is None:
        return _fill_unnamed(job, counts)
    ids = to_ids(job.source.ids).copy()
    for number in range(ROUNDS):
        todo = _missing(job, ids)
        if number == 0:
            _count_reuse(job, ids)
        if not todo:
            return ids
        start, before = time.perf_counter(), counts.loaded
        filling = _Shards(job, counts, ids)
        with filling:
            filling.run(todo)
        if job.timed and isinstance(job.deepest, CacheEntry):
            write_pace(job.deepest.folder, time.perf_counter() - start, counts.loaded - before)
    raise TransferkitError("Image files change while they are read, again and again: wait until they are complete.")


def _count_reuse(job: Job, ids: Ids) -> None:
    """Count the images whose most expensive rows other jobs have computed."""
    reuse, deepest = current_reuse(), job.deepest
    if reuse is not None and isinstance(deepest, CacheEntry):
        distinct = np.unique(ids)
        there = deepest.find(distinct) >= 0
        reuse.found(deepest.folder, distinct[there])
        reuse.computed(deepest.folder, distinct[~there])


def _missing(job: Job, ids: Ids) -> dict[int, Places]:
    """Of each shard, one position of each image that lacks a row."""
    _, first = np.unique(ids, return_index=True)
    lacking = np.zeros(len(first), np.bool_)
    for store in job.rows.values():
        lacking |= store.find(ids[first]) < 0
        if isinstance(store, MemoryRows):
            store.expect(len(first))
    positions = first[lacking]
    on_disk = job.extra or any(isinstance(store, CacheEntry) for store in job.rows.values())
    shards = shards_of(ids[positions]) if on_disk else np.zeros(len(positions), np.int64)
    return {int(n): positions[shards == n] for n in np.unique(shards) if job.share is None or int(n) in job.share}


def _fill_unnamed(job: Job, counts: Counts) -> Ids:
    """Fill the rows of images whose identities require decoding: all shards are claimed, and all images decoded."""
    found: list[str] = []
    with _Work(job, counts) as work:
        for shard in range(SHARDS) if work.entries else ():
            while not work.claims.take(shard):
                work.wait()
            work.refresh(shard)
        compute = job.prepare(job.source.size)
        with work.progress(job.source.size) as advance:
            for batch in job.source.load(iter(()), 0):
                found += batch.ids
                ids = to_ids(batch.ids)
                first = np.unique(ids, return_index=True)[1] if len(ids) else np.empty(0, np.int64)
                wanted = {}
                for name, store in job.rows.items():
                    lacking = (store.find(ids[first]) < 0) & ~work.waiting.has(name, ids[first])
                    wanted[name] = np.sort(first[lacking])
                work.take(batch, ids, wanted, compute)
                advance(len(batch.ids) + len(batch.errors))
    work.raise_unreadable()
    return to_ids(found)


class _Work:
    """Rows that are being computed; on exit it writes the finished rows and releases all claims."""

    def __init__(self, job: Job, counts: Counts) -> None:
        self.job = job
        self.counts = counts
        self.stores: dict[str, CacheEntry | MemoryRows] = {**job.rows, **({_INPUTS: job.extra} if job.extra else {})}
        self.entries = [store for store in self.stores.values() if isinstance(store, CacheEntry)]
        self.claims = Claims([entry.folder for entry in self.entries])
        self.waiting = WaitingRows(self.stores)
        self.pace = Pace()
        self._unreadable: list[tuple[int, TransferkitError]] = []
        self._told = False

    def __enter__(self) -> Self:
        """Create the entries."""
        for entry in self.entries:
            entry.prepare()
        return self

    def __exit__(self, *error: object) -> None:
        """Write, and release."""
        try:
            self.write()
        finally:
            self.claims.release_all()

    def progress(self, total: int) -> AbstractContextManager[Advance]:
        """Update the progress."""
        return self.job.show(self.job.label, total) if self.job.show else nullcontext(lambda count: None)

    def refresh(self, shard: int) -> None:
        """Read the rows that other jobs wrote to a shard that was just claimed."""
        for entry in self.entries:
            entry.refresh(shard)

    def wait(self) -> None:
        """Wait while other jobs have claimed the remaining shards."""
        if not self._told:
            log.info("Waiting for another job that computes the same features.")
            self._told = True
        time.sleep(POLL_SECONDS)

    def take(self, batch: Batch, ids: Ids, wanted: Mapping[str, Places], compute: Compute) -> None:
        """Compute the missing rows of a batch, at these positions, and count them."""
        for position, error in batch.errors:
            if not isinstance(error, UnreadableImage):
                raise error
            self._unreadable.append((position, error))
        self.counts.loaded += batch.decoded
        wanted = {name: places for name, places in wanted.items() if len(places)}
        rows = compute(batch, {name: places for name, places in wanted.items() if name != _INPUTS}) if wanted else {}
        if _INPUTS in wanted:
            rows = {**rows, _INPUTS: batch.inputs.numpy()[wanted[_INPUTS]]}
        for name, values in rows.items():
            self.waiting.add(name, ids[wanted[name]], values)
            self.counts.computed[name] = self.counts.computed.get(name, 0) + len(values)
        if self.pace.due(self.waiting.bytes):
            self.write()

    def write(self) -> None:
        """Write the waiting rows to the stores."""
        written = self.waiting.write()
        self.counts.written += sum(size for name, size in written.items() if name != _INPUTS)

    def raise_unreadable(self) -> None:
        """Raise one error for all images that could not be read, if there are any."""
        if self._unreadable:
            raise damaged([str(error) for _, error in sorted(self._unreadable, key=itemgetter(0))])


class _Shards(_Work):
    """Filling with images whose identities are known: shards are claimed one by one."""

    def __init__(self, job: Job, counts: Counts, ids: Ids) -> None:
        super().__init__(job, counts)
        self.ids = ids
        self.names = job.source.ids or []
        self.lacks = {name: np.zeros(len(ids), np.bool_) for name in self.stores}
        self.left: dict[int, int] = {}  # images of each claimed shard that are not computed yet
        self.shards = shards_of(ids) if self.entries else np.zeros(len(ids), np.int64)

    def run(self, todo: dict[int, Places]) -> None:
        """Compute all rows, except of images that were found to have changed; `ids` then has their new identity."""
        positions = np.concatenate(list(todo.values()))
        compute = self.job.prepare(len(positions))
        decode = int((self.job.extra.find(self.ids[positions]) < 0).sum()) if self.job.extra else len(positions)
        with self.progress(len(positions)) as advance:
            while todo:
                batches = self._claimed(todo, advance)
                first = next(batches, None)
                if first is None:
                    if todo:
                        self.wait()
                    continue
                for batch in self.job.source.load(chain([first], batches), decode):
                    self._take(batch, compute)
                    advance(len(batch.ids) + len(batch.errors))
        self.write()
        self.raise_unreadable()

    def _claimed(self, todo: dict[int, Places], advance: Advance) -> Iterator[list[int]]:
        """Batches from shards that are claimed when their turn comes, until no free one is left."""
        size, waiting, taken = self.job.batch_size, list[int](), True
        while taken:
            taken = False
            for shard in list(todo):
                if not self.claims.take(shard):
                    continue
                taken = True
                positions = todo.pop(shard)
                missing = self._still_missing(shard, positions)
                advance(len(positions) - len(missing))
                self.left[shard] = len(missing)
                self._release_finished()
                waiting += missing
                while len(waiting) >= size:
                    yield waiting[:size]
                    waiting = waiting[size:]
        if waiting:
            yield waiting

    def _still_missing(self, shard: int, positions: Places) -> list[int]:
        """The positions without a row in a claimed shard, those that need fewer stages first."""
        self.refresh(shard)
        depth = np.full(len(positions), -1)
        for number, (name, store) in enumerate(self.stores.items()):
            lacking = store.find(self.ids[positions]) < 0
            self.lacks[name][positions] = lacking
            if name != _INPUTS:
                depth[lacking] = number
        order = np.lexsort((positions, depth))
        found: list[int] = positions[order][depth[order] >= 0].tolist()
        return found

    def _take(self, batch: Batch, compute: Compute) -> None:
        known = np.array([identity == self.names[p] for p, identity in zip(batch.positions, batch.ids, strict=True)])
        positions = np.array(batch.positions, dtype=np.int64)
        wanted = {name: np.flatnonzero(known & lacks[positions]) for name, lacks in self.lacks.items()}
        self.take(batch, self.ids[positions], wanted, compute)
        for place in np.flatnonzero(~known):
            self._changed(int(positions[place]), batch.ids[place])
        done = [*batch.positions, *(position for position, _ in batch.errors)]
        for shard, count in zip(*np.unique(self.shards[done], return_counts=True), strict=True):
            self.left[int(shard)] -= int(count)
        self._release_finished()

    def _changed(self, position: int, identity: str) -> None:
        """Record that a file changed after it was identified; it is read again, in the shard of its new content."""
        log.warning("%s changed after it was identified; it is read again.", self.job.source.names(position))
        self.names[position] = identity
        self.ids[position] = to_ids([identity])[0]

    def _release_finished(self) -> None:
        finished = [shard for shard, left in self.left.items() if left == 0]
        if finished:
            self.write()
        for shard in finished:
            self.claims.release(shard)
            del self.left[shard]
