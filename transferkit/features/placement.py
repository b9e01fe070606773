"""The decision whether and where activations of frozen stages are cached, from counts and measured times."""

from dataclasses import dataclass

WORTH_KEEPING = 4.0
"""Activations in memory are also written to disk, for other runs, if computing takes this many times as long."""


def pixel_bytes(input_size: tuple[int, int], images: int) -> int:
    """Of decoded images of that height and width, uint8."""
    return 3 * input_size[0] * input_size[1] * images


@dataclass(frozen=True)
class Work:
    """The work of one phase, measured on a few images.

    Attributes:
        rows: Distinct rows, of train and val.
        reads: Rows read over the whole phase.
        row_bytes: Of one row.
        compute_seconds: To compute one row.
        byte_seconds: To write one byte to the disk.
    """

    rows: int
    reads: int
    row_bytes: int
    compute_seconds: float
    byte_seconds: float

    @property
    def bytes(self) -> int:
        """Of all rows."""
        return self.rows * self.row_bytes


@dataclass(frozen=True)
class Storage:
    """The decision.

    Attributes:
        cached: "memory", "disk", or "no": recomputed in every epoch.
        on_disk: Whether the rows are written to the cache.
        why: In words, without numbers that differ from run to run.
    """

    cached: str
    on_disk: bool
    why: str


def choose_storage(work: Work, memory: float, disk: float | None, reusable: bool) -> Storage:
    """Decide where activations are cached.

    Args:
        work: The work of the phase.
        memory: Available bytes of memory.
        disk: Bytes that the cache may grow by; None without a cache.
        reusable: Whether other runs can use the same rows.
    """
    fits_disk = disk is not None and work.bytes <= disk
    write_seconds = work.row_bytes * work.byte_seconds
    if work.bytes <= memory:
        on_disk = fits_disk and reusable and WORTH_KEEPING * write_seconds <= work.compute_seconds
        return Storage("memory", on_disk, "fits in memory")
    if disk is None:
        return Storage("no", False, "more than cache.ram_gb, and the cache is off")
    if not fits_disk:
        return Storage("no", False, "more than cache.ram_gb and than the free space of the cache")
    # Reading takes no longer than writing.
    once = work.rows * (work.compute_seconds + write_seconds) + work.reads * write_seconds
    if once >= work.reads * work.compute_seconds:
        return Storage("no", False, "recomputing is faster than the disk")
    return Storage("disk", True, "more than cache.ram_gb, and reading is faster than recomputing")
