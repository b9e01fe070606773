"""Large gathered arrays lie in the cache folder; a full disk is one message."""

import errno
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

from tests.features.damage import fill_entry
from transferkit.errors import TransferkitError
from transferkit.features.identities import to_ids
from transferkit.features.store import CacheEntry, FeatureCache

NAMES = [f"id{i}" for i in range(90)]
ROWS = np.arange(270, dtype=np.float32).reshape(90, 3)


@pytest.fixture
def entry(tmp_path: Path) -> CacheEntry:
    entry = FeatureCache(tmp_path / "cache").entry({"stage": "stage5"})
    fill_entry(entry, NAMES, ROWS)
    return entry


@pytest.mark.parametrize("piece", [1, 100, 10**6])
def test_many_rows_are_gathered_into_a_file_in_the_cache(
    entry: CacheEntry, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    monkeypatch.setattr("transferkit.features.gathered.PIECE_BYTES", piece)
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")  # the temporary folder of the system is not used
    order = np.random.default_rng(0).integers(0, 90, 200)
    ids = to_ids([NAMES[i] for i in order])
    got = entry.gather(ids, ram_bytes=10)
    assert isinstance(got, np.memmap)
    assert got.mode == "r"  # so that pages that were read can be given back
    assert np.array_equal(got, ROWS[order])
    assert np.array_equal(entry.gather(ids), ROWS[order])
    assert not isinstance(entry.gather(ids), np.memmap)
    assert not [path for path in entry.root.iterdir() if path.name.startswith(".gathered-")]


def test_a_full_disk_is_noticed_before_anything_is_written(entry: CacheEntry, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, start: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(TransferkitError, match=r"take 1\.08e-06 GB.*has no space \(No space left.*cache\.dir="):
        entry.gather(to_ids(NAMES), ram_bytes=10)


def test_a_file_system_that_cannot_reserve_is_written_to(entry: CacheEntry, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(descriptor: int, start: int, size: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    assert np.array_equal(entry.gather(to_ids(NAMES), ram_bytes=10), ROWS)
