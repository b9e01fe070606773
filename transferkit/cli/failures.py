"""Failures that are no mistake of the program: what the machine refused, and what to do about it, in a sentence.

Imported at every start: only what is light.
"""

import errno

from transferkit.errors import worker_died

NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
MENDABLE = {errno.EACCES, errno.EEXIST, errno.EFBIG, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EPERM, errno.EROFS}
MENDABLE |= NO_SPACE


def plain_reason(error: BaseException) -> str | None:
    """Return what a person can do about `error`, in one message; None for what only a programmer can explain.

    The error that it was raised from, or while handling which it was raised, may be what tells.
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
                f"{error.strerror}{where}: free some, or choose another disk; hydra.run.dir=DIR sets where a run is "
                "written, cache.dir=DIR where computed features are."
            )
        if error.errno == errno.EFBIG:
            return f"{error.strerror}{where}: the system limits the size of a file (ulimit -f), or the disk does."
        return f"{error.strerror}{where}. hydra.run.dir=DIR sets where a run is written."
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, of a GPU
        detail = str(error).splitlines()[0][:200] if str(error) else ""
        return (
            f"Memory ran out{f' ({detail})' if detail else ''}: a smaller trainer.batch_size, or fewer "
            "trainer.num_workers, takes less."
        )
    return worker_died(error)
