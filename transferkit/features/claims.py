"""Locks of the store: an entry in use is not removed, and each shard is filled by one job at a time.

The locks are the system's (flock; over NFS the kernel converts them), which a killed job releases. A lock is only ever
tried, never waited for while another one is held, so no two jobs wait for each other.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

try:
    import fcntl
except ImportError:  # Windows, where open files cannot be removed anyway
    fcntl = None  # type: ignore[assignment]

USE = "use.lock"


class Use:
    """Keeps an entry from being removed, as long as this object lives. Any number of jobs may use an entry.

    Args:
        folder: Of the entry.
        make: Whether to create a missing folder.

    Raises:
        FileNotFoundError: There is no such folder.
        OSError: The file cannot be opened.
    """

    def __init__(self, folder: Path, make: bool) -> None:
        self._descriptor = -1
        while self._descriptor < 0:
            if make:
                folder.mkdir(parents=True, exist_ok=True)
            try:
                self._descriptor = _locked(folder / USE, exclusive=False)
            except FileNotFoundError:
                if not make:  # otherwise another job has just removed it
                    raise

    def __del__(self) -> None:
        """Release the lock."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Removal:
    """Exclusive use of an entry, if `granted`. Must be closed."""

    def __init__(self, folder: Path) -> None:
        self._descriptor = -1
        with suppress(BlockingIOError):
            self._descriptor = _locked(folder / USE, exclusive=True)
        self.granted = self._descriptor >= 0

    def close(self) -> None:
        """Release the lock."""
        if self._descriptor >= 0:
            os.close(self._descriptor)


def _locked(path: Path, exclusive: bool) -> int:
    """A descriptor of the file, locked; -1 if it was removed meanwhile. An exclusive lock is tried without waiting."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB if exclusive else fcntl.LOCK_SH)
        if os.fstat(descriptor).st_nlink or fcntl is None:
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return -1


class Claims:
    """Shards claimed by this job, each in several entries at once.

    Args:
        folders: Of the entries.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = sorted(folders)  # the same order in all jobs
        self._locks: dict[int, list[FileLock]] = {}

    def take(self, shard: int) -> bool:
        """Claim a shard in all entries; return False, without any claim, if another job has it in one of them.

        Raises:
            OSError: A lock cannot be created.
        """
        locks: list[FileLock] = []
        try:
            for folder in self._folders:
                lock = FileLock(folder / f"{shard:02}.lock", timeout=0)
                lock.acquire()
                locks.append(lock)
        except BaseException as error:
            for lock in locks:
                lock.release()
            if isinstance(error, Timeout):
                return False
            raise
        self._locks[shard] = locks
        return True

    def release(self, shard: int) -> None:
        """Release a shard."""
        for lock in self._locks.pop(shard, []):
            lock.release()

    def release_all(self) -> None:
        """Release all shards."""
        for shard in list(self._locks):
            self.release(shard)
