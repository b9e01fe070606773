"""A run killed in the middle goes on from the features already written, and ends with the same figures."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.processes import PythonStarter

IMAGES_PER_CLASS = 80


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four classes of noise around different colours: learnable, but not perfectly."""
    rng = np.random.default_rng(0)
    for label in range(4):
        folder = tmp_path / "photos" / f"class{label}"
        folder.mkdir(parents=True)
        for i in range(IMAGES_PER_CLASS):
            pixels = rng.normal(100 + 10 * label, 40, (96, 128, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.jpg")
    return tmp_path / "photos"


def command(photos: Path, cache: Path, out: Path) -> list[str]:
    return [
        *("-m", "transferkit", "dataset=folder", f"dataset.root={photos}", f"hydra.run.dir={out}"),
        *("backbone=resnet18", "backbone.weights=null", f"cache.dir={cache}", "seed=3"),
    ]


def indexes(cache: Path) -> dict[Path, bytes]:
    """The indexes of a feature cache: they only grow, by a block each time that rows are written."""
    return {path: path.read_bytes() for path in cache.rglob("*.index")}


def figures(out: Path) -> dict[str, dict[str, float]]:
    metrics = json.loads((out / "metrics.json").read_text())
    return {key: metrics[key] for key in ("test", "val", "stages")}


@pytest.mark.slow
def test_killed_and_started_again(python: PythonStarter, photos: Path, tmp_path: Path) -> None:
    # Random weights differ from process to process unless the run's seed governs them: the cache would never hit.
    process = python.start(*command(photos, tmp_path / "cache", tmp_path / "killed"), cwd=tmp_path)
    deadline = time.monotonic() + 120
    while not indexes(tmp_path / "cache") and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.poll() is None, "it ended before anything could be killed"
    process.kill()
    assert json.loads((tmp_path / "killed/status.json").read_text())["status"] == "running"
    kept = indexes(tmp_path / "cache")
    assert kept

    for cache, run in (("cache", "resumed"), ("other", "uninterrupted")):
        done = python.run(*command(photos, tmp_path / cache, tmp_path / run), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    resumed, uninterrupted = figures(tmp_path / "resumed"), figures(tmp_path / "uninterrupted")
    for part in ("test", "val"):
        assert resumed[part] == pytest.approx(uninterrupted[part], abs=1e-4)
    now = indexes(tmp_path / "cache")
    # A block that was being written when the process was killed may be cut off; whole ones stay as they are.
    assert sum(now[path].startswith(content) for path, content in kept.items()) >= len(kept) - 1
    log = (tmp_path / "resumed/transferkit.log").read_text()
    assert "from the cache" in log
