"""The test images that a run classified correctly, from its predictions.csv, and the runs of two groups that pair."""

import csv
import io
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from transferkit.arrays import Doubles
from transferkit.compare.collect import FinishedRun
from transferkit.untrusted import UnreadableFile, read_bytes

MAX_BYTES = 1 << 30

Correct = npt.NDArray[np.bool_]
"""(N,) whether each test image was classified correctly, in the order of the images' names."""


def read_correct(run: FinishedRun) -> Correct | None:
    """Return which test images a run classified correctly; None where its predictions.csv cannot be used.

    It cannot where it is missing or damaged, or does not have the number of images and the accuracy of metrics.json.
    """
    try:
        content = read_bytes(run.folder / "predictions.csv", MAX_BYTES)
        rows = list(csv.DictReader(io.StringIO(content.decode("utf-8", "surrogateescape"), newline="")))
        found = sorted((row["image"], row["label"], row["label"] == row["predicted"]) for row in rows)
    except (UnreadableFile, csv.Error, KeyError, TypeError):
        return None
    correct = np.array([right for _, _, right in found], dtype=np.bool_)
    test = run.metrics["test"]
    if len(correct) != test["n"] or abs(correct.mean() - test["top1"]) > 1e-6:
        return None
    return correct


def differences(
    ours: Sequence[FinishedRun], theirs: Sequence[FinishedRun], correct: Mapping[FinishedRun, Correct | None]
) -> list[Doubles]:
    """Return how two groups differ on the same images: 1 where only ours was right, -1 where only theirs was.

    Runs are paired by seed, and where no seed is common, in their order. Only runs with the same test images pair.

    Args:
        ours: The runs of a group.
        theirs: Those of another one.
        correct: Of every run.

    Returns:
        An array (N, S) for each set of test images: N images, S pairs of runs.
    """
    pairs = [(a, b) for a in ours for b in theirs if a.metrics["seed"] == b.metrics["seed"]]
    pairs = pairs or list(zip(ours, theirs, strict=False))
    blocks: dict[str, list[Doubles]] = {}
    for a, b in pairs:
        first, second = correct[a], correct[b]
        if a.test_images is not None and a.test_images == b.test_images and first is not None and second is not None:
            blocks.setdefault(a.test_images, []).append(first.astype(np.float64) - second)
    return [np.stack(columns, axis=1) for columns in blocks.values()]
