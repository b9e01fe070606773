"""Extraction of one data set by several jobs side by side, a thread each, against one such job.

    python -m benchmarks.jobs                       two jobs, ResNet-18 with random weights, 224 pixels
    python -m benchmarks.jobs --jobs 4 --kill       four jobs, one of which is killed in the middle

Each job is a process of its own that decodes and computes in one thread; all are started, wait until all are ready, and
begin at once. Printed: the wall clock until the last one has its features, the images that each computed (in all, each
once), and how many times as fast the jobs were together as one alone: by the wall clock, and, for a machine that others
use meanwhile, by the time of the processor that one job took, over that of the one that took most.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

REPOSITORY = Path(__file__).parents[1]


def job(folder: Path, cache: Path) -> None:
    """Extract, when told to, and say what was done."""
    import torch

    import transferkit as tk
    from transferkit.data.imageset import ImageSet
    from transferkit.features.extract import ExtractionStats
    from transferkit.features.store import FeatureCache

    torch.set_num_threads(1)
    torch.manual_seed(0)
    backbone = tk.create_backbone("resnet18", weights=None, source="torchvision")
    paths = sorted(folder.iterdir())
    images, stats = ImageSet.from_files(paths, np.zeros(len(paths))), ExtractionStats()
    images.ids()
    given = {"num_workers": 0, "compile": False, "precision": "fp32", "progress": False, "batch_size": 16}
    tk.extract_features(backbone, images.subset([0]), cache=None, **given)  # type: ignore[arg-type]
    print("ready", flush=True)
    sys.stdin.readline()
    start, cpu = time.perf_counter(), time.process_time()
    features = tk.extract_features(backbone, images, cache=FeatureCache(cache), stats=stats, **given)  # type: ignore[arg-type]
    done = {
        "seconds": time.perf_counter() - start,
        "cpu": time.process_time() - cpu,
        "computed": stats.computed.get("stage5", 0),
        "sum": float(features["stage5"].sum()),
    }
    print(json.dumps(done), flush=True)


def run(folder: Path, cache: Path, count: int, kill: bool = False) -> list[dict[str, float]]:
    """Counts and times of each of so many jobs; one is killed when a fifth of the rows is there."""
    command = [sys.executable, "-m", "benchmarks.jobs", "--job", str(folder), str(cache)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    jobs = [
        subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=REPOSITORY, env=env) for _ in range(count)
    ]
    for process in jobs:
        assert process.stdout
        process.stdout.readline()
    for process in jobs:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    if kill:
        total = len(list(folder.iterdir())) * 512 * 4
        while sum(path.stat().st_size for path in cache.rglob("*.rows")) < total / 5:
            time.sleep(0.05)
        jobs[0].kill()
    outputs = [process.communicate()[0] for process in jobs]
    return [json.loads(output) for output in outputs if output]


def write_images(folder: Path, count: int) -> None:
    """Photograph-sized JPEGs of smooth random colours."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for i in range(count):
        small = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        small.resize((320, 240), Image.Resampling.BICUBIC).save(folder / f"{i:05}.jpg", quality=90)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--kill", action="store_true", help="kill one of the jobs in the middle")
    parser.add_argument("--job", nargs=2, type=Path, metavar=("FOLDER", "CACHE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        job(*options.job)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_images(folder / "images", options.images)
        (one,) = run(folder / "images", folder / "alone", 1)
        some = run(folder / "images", folder / "together", options.jobs, options.kill)
        (again,) = run(folder / "images", folder / "alone", 1)
    print(f"one job: {one['seconds']:.1f} s, {one['computed']} computed")
    share, cpu = again["seconds"] / one["seconds"], again["cpu"] / one["cpu"]
    print(f"the same again: {again['seconds']:.2f} s ({share:.1%}, {cpu:.1%} by CPU), {again['computed']} computed")
    killed, shares = ", one killed" if options.kill else "", [int(each["computed"]) for each in some]
    together = max(each["seconds"] for each in some)
    print(f"{options.jobs} jobs{killed}: {together:.1f} s, computed {shares}, {sum(shares)} in all")
    right = all(abs(each["sum"] - one["sum"]) <= 1e-5 * abs(one["sum"]) for each in some)
    by_cpu = one["cpu"] / max(each["cpu"] for each in some)
    print(f"{one['seconds'] / together:.2f} times as fast, {by_cpu:.2f} by CPU; equal features: {right}")


if __name__ == "__main__":
    main()
