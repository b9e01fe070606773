"""Failures of the machine rather than the program: a full disk, memory that ran out, and what to do about it.

Imported at every start, so without heavy imports.
"""

import errno

from transferkit.errors import worker_died

NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
MENDABLE = {errno.EACCES, errno.EEXIST, errno.EFBIG, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EPERM, errno.EROFS}
MENDABLE |= NO_SPACE


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
        current = current.__cause__ or current.__context__
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
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's error for a GPU
        detail = str(error).splitlines()[0][:200] if str(error) else ""
        return (
            f"Memory ran out{f' ({detail})' if detail else ''}: a smaller trainer.batch_size, or fewer "
            "trainer.num_workers, takes less."
        )
    return worker_died(error)
