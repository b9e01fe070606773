from collections.abc import Callable

import numpy as np
import pytest

from transferkit.data.imageset import ImageSet
from transferkit.metrics import compute_metrics
from transferkit.report.run_result import RunResult

MakeResult = Callable[..., RunResult]


def predictions(labels: np.ndarray, num_classes: int, seed: int = 0) -> np.ndarray:
    """Probabilities (N, K) that are right for about two images of three."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(len(labels), num_classes))
    logits[np.arange(len(labels)), labels] += np.where(rng.random(len(labels)) < 0.6, 8, 0)
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exp / exp.sum(axis=1, keepdims=True), dtype=np.float32)


def made_result(
    names: list[str], n: int = 60, test: ImageSet | None = None, probabilities: np.ndarray | None = None
) -> RunResult:
    """A made-up finished run: its classes, test images and probabilities can be given."""
    rng = np.random.default_rng(1)
    if test is None:
        labels = rng.permutation(np.arange(n) % len(names))
        test = ImageSet.from_arrays(rng.integers(0, 256, (n, 8, 8), dtype=np.uint8), labels)
    if probabilities is None:
        probabilities = predictions(test.labels, len(names))
    scores = compute_metrics(probabilities, test.labels)
    sweep = [{"C": 10.0**i, "val_top1": 0.9 - 0.02 * (i - 1) ** 2, "val_nll": 0.5} for i in range(-3, 4)]
    return RunResult(
        settings={"seed": 7, "dataset": {"name": "toys", "root": "photos"}},
        command="python -m transferkit dataset=toys seed=7",
        metrics={
            "test": scores,
            "val": {**scores, "top1": 0.8765, "n": 4321},
            "strategy": "linear_probe",
            "backbone": "resnet50",
            "weights": "IMAGENET1K_V2",
            "dataset": "toys",
            "num_classes": len(names),
            "trainable_parameters": 250,
            "total_parameters": 1_000_000,
            "seconds": {"total": 75.0, "data": 1.5, "extract": 62.25},
            "stages": {"stage5": {"C": 10.0, "val_top1": 0.9, "features": 2048}},
        },
        class_names=names,
        test=test,
        probabilities=probabilities,
        split_note="Cut 60/20/20, stratified.",
        class_counts={
            "train": np.arange(len(names)) + 100,
            "val": np.arange(len(names)) + 50,
            "test": np.bincount(test.labels, minlength=len(names)),
        },
        sweep={"stage5": sweep},
    )


@pytest.fixture
def make_result() -> MakeResult:
    """The function that makes up a finished run."""
    return made_result
