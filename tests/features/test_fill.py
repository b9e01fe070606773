"""Extraction by several processes, each image once and right whoever is killed; files that change or cannot be read."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import REPOSITORY
from tests.features.extraction import extract, network, photographs, write_photographs
from tests.processes import Process, PythonStarter
from transferkit.data.imageset import ImageSet, _Files
from transferkit.errors import TransferkitError
from transferkit.features.extract import extract_features
from transferkit.features.store import FeatureCache

StartSlow = Callable[[int, Path], Process]

N = 120
STAGES = ["stage2", "stage5"]


SLOW = """
import json, logging, sys, time
import numpy as np
from tests.features.extraction import network, photographs
import transferkit.features.extract
import transferkit.features.waiting_rows
from transferkit.features.store import FeatureCache
from transferkit.data.imageset import ImageSet

def slow(self, index, quick=ImageSet.identified):
    time.sleep(0.05)
    return quick(self, index)

ImageSet.identified = slow
transferkit.features.waiting_rows.KEEP_SECONDS = 0.1
logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
backbone = network()
stats = transferkit.features.extract.ExtractionStats()
print("ready", flush=True)
sys.stdin.readline()
features = transferkit.features.extract.extract_features(
    backbone, photographs(120), ["stage2", "stage5"], cache=FeatureCache(sys.argv[1]), batch_size=4,
    num_workers=int(sys.argv[2]), stats=stats,
)
np.savez(sys.argv[3], **features)
print(json.dumps({"loaded": stats.loaded, **stats.computed}), flush=True)
"""


@pytest.fixture
def start_slow(python: PythonStarter, cache: FeatureCache) -> StartSlow:
    """Starts a process that decodes at most 20 images a second and worker, once it is told to."""

    def start(num_workers: int, out: Path) -> Process:
        process = python.start("-c", SLOW, cache.root, str(num_workers), out, cwd=REPOSITORY)
        assert process.read_line() == "ready\n"
        return process

    return start


def finish(process: Process) -> tuple[dict[str, int], str]:
    """Its counts, and its log."""
    out, log = process.communicate(timeout=120)
    assert process.returncode == 0, log
    return json.loads(out), log


def stored_rows(cache: FeatureCache) -> int:
    return sum(path.stat().st_size for path in cache.root.rglob("*.rows")) // (4 * 64)


def wait_for_rows(cache: FeatureCache, more_than: int = 19) -> None:
    deadline = time.monotonic() + 60
    while stored_rows(cache) <= more_than and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    features, _ = extract(network(), photographs(N), STAGES, cache=None)
    return dict(features)


def check(out: Path, expected: dict[str, Any]) -> None:
    with np.load(out) as features:
        for name, values in expected.items():
            np.testing.assert_allclose(features[name], values, atol=1e-5)


@pytest.mark.slow
def test_a_killed_extraction_goes_on_where_it_was(
    start_slow: StartSlow, cache: FeatureCache, tmp_path: Path, expected: dict[str, Any]
) -> None:
    process = start_slow(0, tmp_path / "out.npz")
    process.write_line("go")
    wait_for_rows(cache)
    process.kill()
    assert not (tmp_path / "out.npz").exists()
    features, stats = extract(network(), photographs(N), STAGES, cache=cache)
    assert 0 < stats.reused["stage5"] < N
    assert stats.loaded == stats.computed["stage5"] == N - stats.reused["stage5"]
    np.testing.assert_allclose(features["stage5"], expected["stage5"], atol=1e-5)


@pytest.mark.slow
def test_four_jobs_side_by_side_do_each_image_once(
    start_slow: StartSlow, cache: FeatureCache, tmp_path: Path, expected: dict[str, Any]
) -> None:
    jobs = [start_slow(workers, tmp_path / f"{i}.npz") for i, workers in enumerate((0, 0, 0, 1))]
    for job in jobs:
        job.write_line("go")
    done = [finish(job) for job in jobs]
    for name in ("loaded", "stage2", "stage5"):
        shares = [counts.get(name, 0) for counts, _ in done]
        assert sum(shares) == N, shares
        assert min(shares) > 0, shares  # none had to wait for another one to be ready
    for i, (_, log) in enumerate(done):
        check(tmp_path / f"{i}.npz", expected)
        assert log.count("Waiting for another job") <= 1


@pytest.mark.slow
def test_of_four_jobs_one_is_killed(
    start_slow: StartSlow, cache: FeatureCache, tmp_path: Path, expected: dict[str, Any]
) -> None:
    """The others compute what it had claimed; no more is computed twice than what it had not written."""
    jobs = [start_slow(0, tmp_path / f"{i}.npz") for i in range(4)]
    jobs[0].write_line("go")
    wait_for_rows(cache)  # of the one to be killed
    for job in jobs[1:]:
        job.write_line("go")
    wait_for_rows(cache, more_than=stored_rows(cache))
    jobs[0].kill()
    done = [finish(job) for job in jobs[1:]]
    for i in (1, 2, 3):
        check(tmp_path / f"{i}.npz", expected)
    total = sum(counts["stage5"] for counts, _ in done)
    assert 0 < total < N  # the killed one's rows that were written are used
    _, stats = extract(network(), photographs(N), STAGES, cache=cache)
    assert stats.computed == {}
    assert stored_rows(cache) == N + N * 512 // 64


@pytest.mark.slow
def test_a_data_set_whose_identities_take_decoding_waits_for_the_others(
    start_slow: StartSlow,
    cache: FeatureCache,
    tmp_path: Path,
    expected: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    job = start_slow(0, tmp_path / "out.npz")
    job.write_line("go")
    wait_for_rows(cache)
    own = [photographs(N).image(i) for i in range(3)]
    features, _ = extract(network(), own, ["stage5"], cache=cache)
    np.testing.assert_allclose(features["stage5"], expected["stage5"][:3], atol=1e-5)
    counts, _ = finish(job)
    assert counts["stage5"] == N
    assert caplog.text.count("Waiting for another job") == 1


class Replaced(ImageSet):
    """Files, one of which is replaced after all were identified, before it is decoded."""

    def ids(self, progress: Any = None) -> list[str]:
        found = super().ids(progress)
        photographs(1, seed=9).image(0).save(self.names[2])
        return found


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("cached", [True, False])
def test_a_file_that_changes_after_it_was_identified(backbone, cache, tmp_path, caplog, cached, num_workers):
    paths = write_photographs(tmp_path / "photos", 8)
    old, new = photographs(8), photographs(1, seed=9)
    given = cache if cached else None
    changed = Replaced(_Files(paths), np.zeros(8))
    features, stats = extract(backbone, changed, cache=given, num_workers=num_workers)
    assert "002.png changed" in caplog.text
    expected, _ = extract(backbone, old, cache=None)
    expected["stage5"][2] = extract_features(backbone, new, cache=None)["stage5"][0]
    np.testing.assert_allclose(features["stage5"], expected["stage5"], atol=1e-5)
    assert stats.loaded == 9
    # The row lies under the content that was decoded: the old content is not in the cache, the new one is.
    photographs(8).image(2).save(paths[2])
    again, stats = extract(backbone, ImageSet.from_files(paths, np.zeros(8)), cache=cache)
    np.testing.assert_allclose(again["stage5"], extract(backbone, old, cache=None)[0]["stage5"], atol=1e-5)
    assert stats.computed == {"stage5": 1 if cached else 8}


@pytest.mark.parametrize("num_workers", [0, 2])
def test_all_unreadable_images_are_told_and_the_others_kept(backbone, cache, tmp_path, num_workers):
    paths = write_photographs(tmp_path / "photos", 8)
    whole = paths[6].read_bytes()
    paths[2].write_bytes(b"no image")
    paths[6].write_bytes(whole[:200])
    images = ImageSet.from_files(paths, np.zeros(8))
    with pytest.raises(TransferkitError) as told:
        extract(backbone, images, cache=cache, num_workers=num_workers, batch_size=3)
    assert "002.png" in str(told.value)
    assert "006.png" in str(told.value)
    assert "Traceback" not in str(told.value)
    paths[2].unlink()
    paths[6].write_bytes(whole)
    mended = ImageSet.from_files(paths[:2] + paths[3:], np.zeros(7))
    _, stats = extract(backbone, mended, cache=cache)
    assert stats.computed == {"stage5": 1}


def test_missing_files_are_told(backbone, tmp_path):
    paths = write_photographs(tmp_path / "photos", 3)
    paths[0].unlink()
    paths[2].unlink()
    with pytest.raises(TransferkitError, match=r"2 in all: .*000\.png.*002\.png"):
        extract(backbone, ImageSet.from_files(paths, np.zeros(3)), cache=None)
