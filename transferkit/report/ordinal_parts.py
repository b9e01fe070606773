"""Ordered classes in tables and on the page: how many classes the predictions are off."""

from typing import cast

import numpy as np

from transferkit.report.class_parts import TABLE
from transferkit.report.classes import confuse
from transferkit.report.facts import percent
from transferkit.report.run_result import RunResult
from transferkit.report.target_parts import Figure, Parts, Section, worst_tiles
from transferkit.targets.ordinal_target import OrdinalTarget

FIGURES = (
    Figure("accuracy", "Accuracy", "share of images whose median class is the true one", short="accuracy"),
    Figure("mae_ranks", "Mean absolute error", "in classes, of the median from the true one", "number", "MAE, classes"),
    Figure("quadratic_kappa", "Quadratic kappa", "agreement beyond chance; large errors count more", "nll", "kappa"),
    Figure("loss", "Cumulative cross entropy", "nats per boundary between classes; 0 is perfect", "nll"),
    Figure("n", "Images", "", "n"),
)


def _sections(result: RunResult) -> list[Section]:
    """The confusion matrix in the order of the classes, and the images that are off by the most classes."""
    target, labels = cast(OrdinalTarget, result.target), result.test.labels
    predicted = target.predicted(result.probabilities)
    confusion = confuse(labels, predicted, target.names)
    off = np.abs(predicted - labels)
    rows = [[name, *(f"{n:,}" for n in confusion.counts[k].tolist())] for k, name in enumerate(target.names)]
    distances = ", ".join(f"{percent((off == k).mean())} by {k}" for k in range(1, int(off.max()) + 1))
    text = f"Off by how many classes: {distances}. The farthest first." if off.any() else "Every image is right."
    order = np.lexsort((-target.losses(result.probabilities, labels), -off))
    tiles = worst_tiles(result, order[off[order] > 0], lambda found: f"{found.label} ({100 * found.confidence:.0f} %)")
    return [
        Section(
            "confusion",
            "Confusion matrix",
            "Rows are true classes, columns predicted ones, both in ascending order; numbers of test images.",
            header=["true ↓ predicted →", *target.names],
            rows=rows,
        ),
        Section("mistakes", "Mistakes", text, tiles=tiles),
    ]


PARTS = Parts(
    FIGURES,
    TABLE,
    label_header=lambda target: ["label"],
    label_cells=lambda target, label: [target.text(label)],
    sections=_sections,
)
