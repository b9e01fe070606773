"""Failures of the machine end in one message; errors of the program do not."""

import errno
import os

import pytest
import torch

from transferkit.cli.failures import plain_reason


def system(number: int) -> OSError:
    return OSError(number, os.strerror(number), "some/file")


def raised_from(error: BaseException, cause: BaseException | None) -> BaseException:
    try:
        raise error from cause
    except BaseException as caught:
        return caught


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (system(errno.ENOSPC), "No space left on device (some/file): free some space"),
        (raised_from(RuntimeError("torch could not write"), system(errno.ENOSPC)), "No space left"),
        (system(errno.EFBIG), "ulimit"),
        (system(errno.EACCES), "Permission denied (some/file). hydra.run.dir"),
        (system(errno.EMFILE), "ulimit -n"),
        (system(errno.EIO), "The system refused: Input/output error (some/file)."),
        (system(errno.ENOMEM), "Memory ran out"),
        (MemoryError(), "Memory ran out: a smaller trainer.batch_size"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "Memory ran out (CUDA out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"), "Memory ran out"),
        (RuntimeError("MPS backend out of memory"), "Memory ran out"),
        (RecursionError("maximum recursion depth exceeded"), "nested too deeply"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), "trainer.num_workers=0"),
    ],
)
def test_the_machine(error: BaseException, told: str) -> None:
    assert told in str(plain_reason(error))


@pytest.mark.parametrize(
    "error", [KeyError("x"), TypeError("x"), RuntimeError("shapes do not match"), AssertionError()]
)
def test_a_mistake_of_the_program_has_no_plain_reason(error: BaseException) -> None:
    assert plain_reason(error) is None


def test_what_an_error_hides_on_purpose_is_not_its_reason() -> None:
    bug = KeyError("x")
    bug.__context__, bug.__suppress_context__ = system(errno.ENOSPC), True
    assert plain_reason(bug) is None
