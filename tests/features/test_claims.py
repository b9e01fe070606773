"""Locks: who may fill a shard, and that what is in use stays."""

import multiprocessing
import time
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from transferkit.features.claims import USE, Claims, Removal, Use


def test_a_shard_is_claimed_by_one(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    first, second = Claims([tmp_path / "a", tmp_path / "b"]), Claims([tmp_path / "b"])
    assert second.take(3)
    assert not first.take(3)
    assert Claims([tmp_path / "a"]).take(3)  # of what could not be claimed as a whole, nothing is
    assert first.take(4)
    second.release(3)
    assert first.take(3)
    assert not second.take(4)
    first.release_all()
    assert second.take(4)


def test_in_memory_everything_is_free() -> None:
    assert Claims([]).take(0)


def hold(folder: Path, held: Event) -> None:
    """Claim, and keep."""
    use, claims = Use(folder, make=True), Claims([folder])
    assert claims.take(0)
    held.set()
    time.sleep(60)
    del use


def test_a_killed_job_holds_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    process = context.Process(target=hold, args=(tmp_path, held))
    process.start()
    assert held.wait(60)
    assert not Claims([tmp_path]).take(0)
    assert not Removal(tmp_path).granted
    process.kill()
    process.join()
    assert Claims([tmp_path]).take(0)
    removal = Removal(tmp_path)
    assert removal.granted
    removal.close()


def test_what_is_used_is_not_removed(tmp_path: Path) -> None:
    first, second = Use(tmp_path / "entry", make=True), Use(tmp_path / "entry", make=False)
    del first
    assert not Removal(tmp_path / "entry").granted
    del second
    removal = Removal(tmp_path / "entry")
    assert removal.granted
    removal.close()
    with pytest.raises(FileNotFoundError):
        Use(tmp_path / "missing", make=False)


def test_a_use_that_meets_a_removal_begins_anew(tmp_path: Path) -> None:
    """The file that was locked is no longer that of the folder."""
    context = multiprocessing.get_context("spawn")
    folder = tmp_path / "entry"
    folder.mkdir()
    removal = Removal(folder)
    held = context.Event()
    process = context.Process(target=hold, args=(folder, held))
    process.start()
    assert not held.wait(5)
    (folder / USE).unlink()
    folder.rmdir()
    removal.close()
    assert held.wait(60)
    assert not Removal(folder).granted
    process.kill()
    process.join()
