"""What is in a cache is listed and removed, whatever kind it is, and nothing else."""

import os
from pathlib import Path

import numpy as np
import pytest

from transferkit.features.store import FeatureCache
from transferkit.features.store_entries import MARKER, list_entries, mark_root, remove_entries


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    """Three entries: two of features, 5 and 2 rows, and one of another kind, which has 1."""
    cache = FeatureCache(tmp_path / "cache")
    for number, (kind, shape) in enumerate((("features", (5, 4)), ("features", (2, 8)), ("pixels", (1, 3, 2, 2)))):
        entry = cache.entry({"stage": f"stage{number}", "network": {"name": "net"}}, kind)
        with cache.locked([entry]):
            entry.write([f"image{i}" for i in range(shape[0])], np.zeros(shape, dtype=np.float32))
        os.utime(entry.folder / "entry.json", (1000 + number, 1000 + number))
    return cache


def test_entries_of_all_kinds_are_listed_those_used_last_first(cache: FeatureCache) -> None:
    entries = list_entries(cache.root)
    assert [(e.kind, e.description["stage"], e.rows, e.used) for e in entries] == [
        ("pixels", "stage2", 1, 1002),
        ("features", "stage1", 2, 1001),
        ("features", "stage0", 5, 1000),
    ]
    for entry in entries:
        assert entry.size == sum(path.stat().st_size for path in entry.folder.iterdir())


def test_rows_of_a_killed_writer_do_not_count(cache: FeatureCache) -> None:
    folder = list_entries(cache.root)[0].folder
    np.save(folder / "unfinished.npy", np.zeros((7, 2)))
    (left,) = [entry for entry in list_entries(cache.root) if entry.kind == "pixels"]
    assert left.rows == 1


def test_what_is_removed_is_gone_and_computed_anew(cache: FeatureCache) -> None:
    first, *others = list_entries(cache.root)
    assert remove_entries([first]) == []
    assert list_entries(cache.root) == others
    assert cache.entry(first.description, first.kind).read() == []


def test_what_a_job_computes_stays(cache: FeatureCache) -> None:
    entries = list_entries(cache.root)
    with cache.locked([cache.entry(entries[0].description, entries[0].kind)]):
        assert remove_entries(entries) == [entries[0]]
    assert list_entries(cache.root) == [entries[0]]
    assert remove_entries(entries) == []


def test_a_reader_keeps_what_it_has(cache: FeatureCache) -> None:
    entry = list_entries(cache.root)[1]
    ((_, rows),) = cache.entry(entry.description, entry.kind).read()
    remove_entries([entry])
    assert rows.sum() == 0


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
    FeatureCache(tmp_path).entry({"stage": "stage5"}).write(["a"], np.zeros((1, 4), np.float32))
    assert len(list_entries(tmp_path)) == 1
    cache.shrink()
    assert remove_entries(list_entries(tmp_path)) == []
    assert tree(tmp_path) == before


@pytest.mark.parametrize("level", [0, 1, 2])
def test_symbolic_links_are_never_followed(cache: FeatureCache, tmp_path: Path, level: int) -> None:
    """A link to another cache, at the place of a kind, a prefix or an entry."""
    other = FeatureCache(tmp_path / "other", max_gb=1e-9)
    folder = other.entry({"of": "others"}).folder
    FeatureCache(other.root).entry({"of": "others"}).write(["a"], np.zeros((1, 4), np.float32))
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
