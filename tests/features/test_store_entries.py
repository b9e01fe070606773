"""Entries of every kind are listed and removed, and nothing else."""

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest

from tests.features.damage import fill_entry, read_entry
from transferkit.features.store import FeatureCache
from transferkit.features.store_entries import MARKER, entry_key, list_entries, mark_root, remove_entries


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    """Three entries: two of features, 5 and 2 rows, and one of another kind, which has 1."""
    root = tmp_path / "cache"
    for number, (kind, shape) in enumerate((("features", (5, 4)), ("features", (2, 8)), ("pixels", (1, 3, 2, 2)))):
        entry = FeatureCache(root).entry({"stage": f"stage{number}", "network": {"name": "net"}}, kind)
        fill_entry(entry, [f"image{i}" for i in range(shape[0])], np.zeros(shape, dtype=np.float32))
        os.utime(entry.folder / "entry.json", (1000 + number, 1000 + number))
    return FeatureCache(root)


def test_entries_of_all_kinds_are_listed_those_used_last_first(cache: FeatureCache) -> None:
    entries = list_entries(cache.root)
    assert [(e.kind, e.description["stage"], e.rows, e.used) for e in entries] == [
        ("pixels", "stage2", 1, 1002),
        ("features", "stage1", 2, 1001),
        ("features", "stage0", 5, 1000),
    ]
    for entry in entries:
        assert entry.size == sum(path.stat().st_size for path in entry.folder.iterdir())


def test_what_is_removed_is_gone_and_computed_anew(cache: FeatureCache) -> None:
    first, *others = list_entries(cache.root)
    assert remove_entries([first]) == []
    assert list_entries(cache.root) == others
    assert not first.folder.exists()


def test_what_a_job_uses_stays(cache: FeatureCache) -> None:
    entries = list_entries(cache.root)
    job = FeatureCache(cache.root)
    about = {key: value for key, value in entries[0].description.items() if key != "store"}
    job.entry(about, entries[0].kind).open()
    assert remove_entries(entries) == [entries[0]]
    assert [entry.folder for entry in list_entries(cache.root)] == [entries[0].folder]
    del job
    assert remove_entries(entries) == []


def test_a_reader_keeps_what_it_has_mapped(cache: FeatureCache) -> None:
    about = {"stage": "stage0", "network": {"name": "net"}}
    entry = FeatureCache(cache.root).entry(about)
    entry.open()
    maps = [entry.map(shard) for shard in range(32)]
    del entry
    assert remove_entries(list_entries(cache.root)) == []
    assert sum(len(rows) for rows in maps) == 5
    assert sum(float(rows.sum()) for rows in maps) == 0


def test_the_least_recently_used_leave(tmp_path: Path) -> None:
    for age, stage in enumerate(["old", "older", "oldest"]):
        entry = FeatureCache(tmp_path).entry({"stage": stage})
        fill_entry(entry, [f"image{i}" for i in range(100)], np.zeros((100, 1000), np.float32))
        os.utime(entry.folder / "entry.json", (1e9 - age, 1e9 - age))
    del entry
    FeatureCache(tmp_path).entry({"stage": "oldest"}).open()  # a use
    cache = FeatureCache(tmp_path, max_gb=1e-3)  # room for two of 0.4 MB
    fill_entry(cache.entry({"stage": "new"}), ["image"], np.zeros((1, 3), np.float32))
    cache.shrink()
    left = {json.loads(path.read_text())["stage"] for path in tmp_path.glob("features/*/*/entry.json")}
    assert left == {"old", "oldest", "new"}


def test_what_this_or_another_process_uses_is_not_evicted(tmp_path: Path) -> None:
    other, mine = FeatureCache(tmp_path), FeatureCache(tmp_path, max_gb=0)
    rows = np.zeros((100, 1000), np.float32)
    for cache, stage in ((other, "other"), (mine, "mine")):
        fill_entry(cache.entry({"stage": stage}), [f"image{i}" for i in range(100)], rows)
    mine.shrink()
    assert len(list_entries(tmp_path)) == 2
    del other, cache
    mine.shrink()
    assert [entry.description["stage"] for entry in list_entries(tmp_path)] == ["mine"]
    assert len(read_entry(mine.entry({"stage": "mine"}), ["image1"])) == 1


def write_old_entry(root: Path) -> Path:
    """An entry as format 2 wrote it."""
    about = {"stage": "stage5", "format": 2}
    key = entry_key(about)
    folder = root / "features" / key[:2] / key
    folder.mkdir(parents=True)
    mark_root(root)
    (folder / "entry.json").write_text(json.dumps(about, indent=1))
    np.save(folder / f"{'0' * 32}.npy", np.zeros((3, 4)))
    (folder / f"{'0' * 32}.json").write_text("{}")
    folder.with_name(key + ".lock").touch()
    return folder


def test_entries_of_the_old_format_are_listed_and_removed(tmp_path: Path) -> None:
    folder = write_old_entry(tmp_path)
    (entry,) = list_entries(tmp_path)
    assert (entry.folder, entry.old, entry.rows) == (folder, True, 0)
    assert remove_entries([entry]) == []
    assert list(folder.parent.iterdir()) == []


def test_what_killed_jobs_left_is_removed_once_it_is_old(tmp_path: Path) -> None:
    mark_root(tmp_path)
    for name, age in ((".gathered-abc", 10**4), (".gathered-new", 0), ("gathered-mine", 10**4)):
        (tmp_path / name).write_bytes(b"rows")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    FeatureCache(tmp_path).shrink()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".gathered-new", MARKER, "gathered-mine"]


def test_other_folders_are_no_entries(tmp_path: Path) -> None:
    mark_root(tmp_path)
    for name in ("home/ab/abc", "home/ab/" + "ab" * 31, "home/cd/" + "ab" * 32, "home/ab/" + "ab" * 32):
        (tmp_path / name).mkdir(parents=True)
    assert list_entries(tmp_path) == []
    assert list_entries(tmp_path / "missing") == []


def tree(root: Path) -> dict[str, bytes]:
    files = [path for path in root.rglob("*") if path.is_file() and path.suffix != ".lock" and path.name != MARKER]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def test_files_of_others_in_cache_dir_are_never_removed(tmp_path: Path) -> None:
    """The photographs that cache.max_gb once deleted: photos/de/trip has the shape of kind/prefix/key."""
    key = "de" + "f0" * 31
    for name in ("photos/de/trip/a.jpg", f"features/de/{key}/notes.txt", f"pixels/de/{key}/entry.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"{}" * 1000)
    before = tree(tmp_path)
    cache = FeatureCache(tmp_path, max_gb=1e-9)
    cache.shrink()
    assert tree(tmp_path) == before
    fill_entry(FeatureCache(tmp_path).entry({"stage": "stage5"}), ["a"], np.zeros((1, 4), np.float32))
    assert len(list_entries(tmp_path)) == 1
    cache.shrink()
    assert remove_entries(list_entries(tmp_path)) == []
    assert tree(tmp_path) == before


@pytest.mark.parametrize("level", [0, 1, 2])
def test_symbolic_links_are_never_followed(cache: FeatureCache, tmp_path: Path, level: int) -> None:
    """A link to another cache, at the place of a kind, a prefix or an entry."""
    other = FeatureCache(tmp_path / "other", max_gb=1e-9)
    folder = other.entry({"of": "others"}).folder
    fill_entry(FeatureCache(other.root).entry({"of": "others"}), ["a"], np.zeros((1, 4), np.float32))
    target = [folder.parents[1], folder.parents[0], folder][level]
    link = tmp_path / "linked" / target.relative_to(other.root)
    link.parent.mkdir(parents=True)
    mark_root(tmp_path / "linked")
    link.symlink_to(target)
    before = tree(other.root)
    FeatureCache(tmp_path / "linked", max_gb=1e-9).shrink()
    assert list_entries(tmp_path / "linked") == []
    assert tree(other.root) == before


def test_an_entry_with_a_file_of_somebody_else_keeps_that_file(cache: FeatureCache) -> None:
    entry = list_entries(cache.root)[0]
    (entry.folder / "mine.txt").write_text("mine")
    assert remove_entries([entry]) == [entry]
    assert (entry.folder / "mine.txt").read_text() == "mine"


def test_an_unmarked_folder_is_no_cache(cache: FeatureCache) -> None:
    entries = list_entries(cache.root)
    (cache.root / MARKER).unlink()
    assert list_entries(cache.root) == []
    assert remove_entries(entries) == entries
