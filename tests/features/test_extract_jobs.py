"""Extraction in other processes: killed in the middle, and two at once."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.features.test_extract import extract, network, photographs
from transferkit.features.store import FeatureCache


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path / "cache")


SLOW = """
import logging, sys, time
import numpy as np
from tests.features.test_extract import network, photographs
import transferkit.features.extract
from transferkit.features.store import FeatureCache
from transferkit.data.imageset import ImageSet

def slow(self, index, quick=ImageSet.image):
    time.sleep(0.05)
    return quick(self, index)

ImageSet.image = slow
transferkit.features.growing_rows.KEEP_SECONDS = 0.2
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
backbone = network()
stats = transferkit.features.extract.ExtractionStats()
print("ready", flush=True)
sys.stdin.readline()
features = transferkit.features.extract.extract_features(
    backbone, photographs(40), cache=FeatureCache(sys.argv[1]), batch_size=2, num_workers=int(sys.argv[2]), stats=stats
)
np.save(sys.argv[3], features["stage5"])
print("computed", stats.computed.get("stage5", 0), flush=True)
"""


def start_slow(cache: FeatureCache, num_workers: int, out: Path) -> "subprocess.Popen[str]":
    """A process that extracts at 20 images a second and a worker, once it is told to."""
    command = [sys.executable, "-c", SLOW, str(cache.root), str(num_workers), str(out)]
    repository = Path(__file__).parents[2]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=repository, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


@pytest.mark.slow
def test_a_killed_extraction_goes_on_where_it_was(cache, tmp_path):
    backbone = network()
    process = start_slow(cache, 0, tmp_path / "out.npy")
    go(process)
    deadline = time.monotonic() + 60
    while len(list(cache.root.rglob("*.npy"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "out.npy").exists()
    features, stats = extract(backbone, photographs(40), cache=cache)
    assert 0 < stats.reused["stage5"] < 40
    assert stats.loaded == stats.computed["stage5"] == 40 - stats.reused["stage5"]
    uninterrupted, _ = extract(backbone, photographs(40), cache=None)
    np.testing.assert_allclose(features["stage5"], uninterrupted["stage5"], atol=1e-5)


@pytest.mark.slow
def test_two_jobs_at_once_do_each_image_once(cache, tmp_path):
    jobs = [start_slow(cache, num_workers, tmp_path / f"{num_workers}.npy") for num_workers in (2, 0)]
    go(jobs[0])
    while not list(cache.root.rglob("*.lock")):
        time.sleep(0.01)
    go(jobs[1])
    outputs = [job.communicate(timeout=120)[0] for job in jobs]
    assert "computed 40" in outputs[0]
    assert "computed 0" in outputs[1]
    assert outputs[1].count("Waiting for another job") == 1
    np.testing.assert_array_equal(np.load(tmp_path / "2.npy"), np.load(tmp_path / "0.npy"))
