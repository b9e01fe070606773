"""task=cache: what it shows, and what it removes."""

import csv
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import RunCommand
from tests.features.damage import fill_entry
from tests.features.test_store_entries import write_old_entry
from tests.test_imports import HEAVY, loaded_after
from transferkit.cli.cache import choose, table
from transferkit.errors import TransferkitError
from transferkit.features.claims import Use
from transferkit.features.store import FeatureCache
from transferkit.features.store_entries import list_entries


def fill(folder: Path) -> FeatureCache:
    cache = FeatureCache(folder)
    for stage, rows in (("stage1", 3), ("stage5", 4)):
        about = {
            "network": {"name": "resnet18"},
            "stage": stage,
            "pool": "avg",
            "precision": "bf16",
            "weights": "f" * 64,
        }
        fill_entry(cache.entry(about), [f"image{i}" for i in range(rows)], np.zeros((rows, 1000), dtype=np.float32))
    pixels = cache.entry({"size": [224, 224]}, "pixels")
    fill_entry(pixels, ["image"], np.zeros((1, 3, 224, 224), dtype=np.uint8))
    return FeatureCache(folder)


def test_every_entry_has_a_line_and_the_sum_is_told(tmp_path: Path) -> None:
    entries = list_entries(fill(tmp_path).root)
    header, *lines, _, total, _ = table(entries, tmp_path, 20).splitlines()
    assert header.split()[:6] == ["key", "kind", "network", "weights", "stage", "pool"]
    (stage5,) = [line.split() for line in lines if "stage5" in line]
    assert stage5[1:9] == ["features", "resnet18", "ffffffff", "stage5", "avg", "bf16", "4", "0.0"]
    assert len(lines) == 3
    assert total.startswith("3 entries, 0.2 MB of at most 20 GB")
    assert table([], tmp_path, 20) == f"The cache {tmp_path} is empty."


def test_what_is_chosen(tmp_path: Path) -> None:
    entries = list_entries(fill(tmp_path).root)
    now = entries[0].used
    assert choose(entries, "all", 0, now) == entries
    assert choose(entries, "unused", 100, now + 50) == []
    assert choose(entries, "unused", 100, now + 200) == entries
    assert choose(entries, entries[1].key[:12].upper(), 0, now) == [entries[1]]
    with pytest.raises(TransferkitError, match="no key has this prefix"):
        choose(entries, "xyz", 0, now)


def test_entries_of_the_old_format_are_told(tmp_path: Path) -> None:
    root = fill(tmp_path).root
    write_old_entry(root)
    entries = list_entries(root)
    (old,) = choose(entries, "old", 0, 0)
    assert "features (old)" in table([old], root, 20)
    assert "1 of an old format are not used any more: cache.clear=old" in table(entries, root, 20)


def test_the_command_line(transferkit: RunCommand, tmp_path: Path) -> None:
    cache = fill(tmp_path / "cache")
    done = transferkit("task=cache", f"cache.dir={cache.root}", "hydra.run.dir=list", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "resnet18" in done.stdout
    with (tmp_path / "list" / "cache.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sorted((row["kind"], row["stage"], row["rows"]) for row in rows) == [
        ("features", "stage1", "3"),
        ("features", "stage5", "4"),
        ("pixels", "", "1"),
    ]
    held = list_entries(cache.root)[0]
    use = Use(held.folder, make=False)
    done = transferkit("task=cache", f"cache.dir={cache.root}", "cache.clear=all", cwd=tmp_path)
    del use
    assert "Removed 2 of 3 entries" in done.stdout
    assert f"{held.key[:8]} ({held.kind}) is not removed" in done.stdout
    assert list_entries(cache.root) == [held]
    done = transferkit("task=cache", f"cache.dir={cache.root}", "cache.clear=nothing", cwd=tmp_path)
    assert (done.returncode, "no key has this prefix" in done.stderr + done.stdout) == (1, True)


def test_it_answers_without_torch() -> None:
    assert not loaded_after("import transferkit.cli.cache") & (HEAVY - {"numpy"})
