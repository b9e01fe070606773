"""What is in a cache is listed and removed, whatever kind it is, and nothing else."""

import os
from pathlib import Path

import numpy as np
import pytest

from transferkit.cache import FeatureCache
from transferkit.cache_tools import list_entries, remove_entries


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
    (folder / "entry.json").write_text("{")
    (left,) = [entry for entry in list_entries(cache.root) if entry.kind == "pixels"]
    assert (left.rows, dict(left.description)) == (1, {})


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
    for name in ("home/ab/abc", "home/ab/" + "ab" * 31, "home/cd/" + "ab" * 32):
        (tmp_path / name).mkdir(parents=True)
    assert list_entries(tmp_path) == []
    assert list_entries(tmp_path / "missing") == []
