"""Suspected label errors by confident learning (Northcutt, Jiang & Chuang 2021, JAIR 70), computed by cleanlab."""

from importlib.util import find_spec

import numpy as np

from transferkit.arrays import Labels, Probabilities
from transferkit.errors import TransferkitError
from transferkit.quality.held_out_probe import HeldOut
from transferkit.quality.problems import AllImages, Ints, Problem

INSTALL = "python -m pip install 'transferkit[check]'"


def has_cleanlab() -> bool:
    """Whether cleanlab is installed."""
    return find_spec("cleanlab") is not None


def look_for_label_errors(wanted: bool | str) -> bool:
    """Whether label errors are looked for: if wanted, or where cleanlab is installed if "auto".

    Raises:
        TransferkitError: They are wanted, and cleanlab is not installed.
    """
    if wanted is True and not has_cleanlab():
        raise TransferkitError(f"task.labels=true needs cleanlab: {INSTALL}; task.labels=auto checks the rest without.")
    return has_cleanlab() if wanted == "auto" else bool(wanted)


def suspect_labels(labels: Labels, probabilities: Probabilities) -> Ints:
    """Return the images whose labels are suspected to be wrong, the least probable label first.

    cleanlab's default rule, "prune by noise rate": per pair of classes as many as the confident joint counts, and none
    whose most probable class is the given one.

    Args:
        labels: (N,) as given.
        probabilities: (N, K) by models that were fitted without the image.
    """
    if len(np.unique(labels)) < 2:
        return np.empty(0, np.int64)
    from cleanlab.filter import find_label_issues  # pandas takes a second to import

    found = find_label_issues(
        labels, np.asarray(probabilities, dtype=np.float64), return_indices_ranked_by="self_confidence", n_jobs=1
    )
    return np.asarray(found, dtype=np.int64)


def label_problems(images: AllImages, held_out: HeldOut) -> list[Problem]:
    """The suspected label errors of train and val together, and of test by itself."""
    rows = np.arange(len(images))
    found = []
    for part in (rows < images.fit, rows >= images.fit):
        taken = rows[part & held_out.predicted]
        found += taken[suspect_labels(images.labels[taken], held_out.probabilities[taken])].tolist()
    problems = []
    for row in found:
        probabilities = held_out.probabilities[row]
        best = int(probabilities.argmax())
        given = float(probabilities[images.labels[row]])
        note = f"probability of the suggested label {probabilities[best]:.3f}"
        suggested = images.data.class_names[best]
        problems.append(Problem("label", row, images.label(row), given, suggested=suggested, note=note))
    return sorted(problems, key=lambda problem: problem.score)
