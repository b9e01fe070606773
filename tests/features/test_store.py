import errno
import json
import multiprocessing
import os
import time
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import pytest

from transferkit.errors import TransferkitError
from transferkit.features.store import CacheEntry, Chunk, FeatureCache, RowIndex, default_cache_dir


def rows(n: int, width: int = 3, start: int = 0) -> np.ndarray:
    return np.arange(start, start + n * width, dtype=np.float32).reshape(n, width)


def names(n: int, start: int = 0) -> list[str]:
    return [f"id{i}" for i in range(start, start + n)]


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path / "cache")


@pytest.fixture
def entry(cache: FeatureCache) -> CacheEntry:
    return cache.entry({"stage": "stage5"})


def the_file(entry: CacheEntry, pattern: str) -> Path:
    (found,) = (path for path in entry.folder.glob(pattern) if path.name != "entry.json")
    return found


def contents(chunks: list[Chunk]) -> dict[str, list[float]]:
    return {identity: row.tolist() for ids, values in chunks for identity, row in zip(ids, values, strict=True)}


def test_what_is_written_is_read(entry):
    assert entry.read() == []
    entry.write(names(4), rows(4))
    entry.write(names(2, 4), rows(2, start=100))
    expected = dict(zip(names(6), [*rows(4).tolist(), *rows(2, start=100).tolist()], strict=True))
    assert contents(entry.read()) == expected


def test_rows_are_memory_mapped(entry):
    _, written = entry.write(names(4), rows(4))
    ((_, read),) = entry.read()
    assert isinstance(written, np.memmap)
    assert isinstance(read, np.memmap)
    assert read.dtype == np.float32


def test_an_entry_says_what_it_is(cache):
    entry = cache.entry({"stage": "stage5", "network": {"name": "resnet18"}})
    entry.write(names(1), rows(1))
    description = json.loads((entry.folder / "entry.json").read_text())
    assert description == {"stage": "stage5", "network": {"name": "resnet18"}}
    assert cache.entry({"network": {"name": "resnet18"}, "stage": "stage5"}).folder == entry.folder
    assert cache.entry({"network": {"name": "resnet18"}, "stage": "stage4"}).folder != entry.folder


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "bit": lambda entry: flip_a_bit(the_file(entry, "*.npy")),
    "truncated": lambda entry: os.truncate(the_file(entry, "*.npy"), 130),
    "empty": lambda entry: os.truncate(the_file(entry, "*.npy"), 0),
    "zip": lambda entry: the_file(entry, "*.npy").write_bytes(b"PK\x03\x04"),
    "no rows": lambda entry: the_file(entry, "*.npy").unlink(),
    "index": lambda entry: os.truncate(the_file(entry, "*.json"), 20),
    "other index": lambda entry: the_file(entry, "*.json").write_text("[]"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_noticed_told_and_removed(entry, damage, caplog):
    entry.write(names(4), rows(4))
    damage(entry)
    assert entry.read() == []
    entry.write(["good"], rows(1))
    assert list(contents(entry.clean())) == ["good"]
    assert len(caplog.messages) == 1
    assert "damaged" in caplog.text
    assert len(list(entry.folder.iterdir())) == 3


def test_what_a_killed_writer_left_does_not_exist_and_is_removed(entry, caplog):
    entry.write(names(2), rows(2))
    np.save(entry.folder / "abc.npy", rows(4))
    (entry.folder / "def.npy.tmp").write_bytes(b"half")
    (entry.folder / "abc.json.tmp").write_bytes(b"half")
    assert list(contents(entry.read())) == names(2)
    assert list(contents(entry.clean())) == names(2)
    assert len(list(entry.folder.iterdir())) == 3
    assert not caplog.messages


def test_full_disk(entry, monkeypatch):
    entry.write(names(2), rows(2))

    def save(file, array):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", save)
    with pytest.raises(TransferkitError, match=r"No space left.*cache\.dir=.*cache\.enabled=false"):
        entry.write(names(2, 2), rows(2))
    assert len(list(entry.folder.iterdir())) == 3
    assert list(contents(entry.read())) == names(2)


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    cache = FeatureCache(tmp_path / "file" / "cache")
    with pytest.raises(TransferkitError, match=r"cannot be written.*cache\.dir="), cache.locked([cache.entry({})]):
        pass


def test_the_least_recently_used_leave(tmp_path):
    for age, stage in enumerate(["old", "older", "oldest"]):
        entry = FeatureCache(tmp_path).entry({"stage": stage})
        entry.write(names(100), rows(100, 1000))
        os.utime(entry.folder / "entry.json", (1e9 - age, 1e9 - age))
    FeatureCache(tmp_path).entry({"stage": "oldest"}).read()  # a use
    cache = FeatureCache(tmp_path, max_gb=1e-3)  # room for two of 0.4 MB
    kept = cache.entry({"stage": "new"})
    kept.write(names(1), rows(1))
    cache.shrink()
    left = {json.loads(path.read_text())["stage"] for path in tmp_path.glob("features/*/*/entry.json")}
    assert left == {"old", "oldest", "new"}


def test_entries_in_use_stay(tmp_path):
    entry = FeatureCache(tmp_path).entry({"stage": "locked"})
    entry.write(names(100), rows(100, 1000))
    cache = FeatureCache(tmp_path, max_gb=1e-6)
    mine = cache.entry({"stage": "mine"})
    mine.write(names(100), rows(100, 1000))
    with FeatureCache(tmp_path).locked([entry]):
        cache.shrink()
    assert entry.read()
    cache.shrink()
    assert not entry.read()
    assert mine.read()


def test_removing_does_not_disturb_a_reader(tmp_path):
    entry = FeatureCache(tmp_path).entry({"stage": "stage5"})
    entry.write(names(4), rows(4))
    ((_, values),) = entry.read()
    FeatureCache(tmp_path, max_gb=0).shrink()
    assert not entry.folder.exists()
    np.testing.assert_array_equal(values, rows(4))


def hold(root: Path, held: Event) -> None:
    """Take the lock and keep it."""
    cache = FeatureCache(root)
    with cache.locked([cache.entry({"stage": "stage5"})]):
        held.set()
        time.sleep(60)


def test_a_killed_job_does_not_keep_others_waiting(cache, entry, caplog):
    caplog.set_level("INFO")
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    process = context.Process(target=hold, args=(cache.root, held))
    process.start()
    assert held.wait(30)
    process.kill()
    process.join()
    with cache.locked([entry]):
        pass
    assert not caplog.messages


def test_rows_are_gathered_in_the_order_asked_for():
    index = RowIndex()
    index.add((names(3), rows(3)))
    index.add((names(2, 3), rows(2, start=100)))
    assert "id4" in index
    assert "id5" not in index
    got = index.gather(["id4", "id0", "id0", "id2"])
    np.testing.assert_array_equal(got, [rows(2, start=100)[1], rows(3)[0], rows(3)[0], rows(3)[2]])


def test_default_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "transferkit"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert default_cache_dir() == Path("/home/someone/.cache/transferkit")


def test_rows_of_any_shape_and_type_come_back(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    maps = np.arange(24, dtype=np.uint8).reshape(2, 3, 2, 2)
    entry = cache.entry({"of": "maps"}, "pixels")
    with cache.locked([entry]):
        entry.write(["a", "b"], maps)
    assert entry.folder.relative_to(tmp_path).parts[0] == "pixels"
    [(ids, kept)] = cache.entry({"of": "maps"}, "pixels").read()
    index = RowIndex()
    index.add((ids, kept))
    got = index.gather(["b", "a"])
    assert got.dtype == np.uint8
    assert np.array_equal(got, maps[::-1])
    assert cache.entry({"of": "maps"}).read() == []  # another kind, another entry


def test_every_kind_counts_for_the_size(tmp_path: Path) -> None:
    old = FeatureCache(tmp_path).entry({"of": "pixels"}, "pixels")
    old.write(["a"], np.zeros((1, 1000), dtype=np.uint8))
    os.utime(old.folder / "entry.json", (1, 1))
    cache = FeatureCache(tmp_path, max_gb=1e-6)
    cache.entry({"of": "features"}).write(["a"], rows(1))
    cache.shrink()
    assert not old.folder.exists()


def test_many_rows_are_gathered_into_a_file() -> None:
    index = RowIndex()
    for start in range(0, 12, 4):
        index.add(([f"id{i}" for i in range(start, start + 4)], rows(4, start=3 * start)))
    wanted = [f"id{i}" for i in (11, 0, 5, 5, 3)]
    got = index.gather(wanted, ram_bytes=10)
    assert isinstance(got, np.memmap)
    assert got.mode == "r"  # so that pages that were read can be given back
    assert np.array_equal(got, index.gather(wanted))
    assert np.array_equal(got[:, 0], [33, 0, 15, 15, 9])
