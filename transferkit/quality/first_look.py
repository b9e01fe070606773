"""Problems of the data that task=advise sees without a further pass: duplicates, and suspected label errors."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from transferkit.advisor.advice import Advice
from transferkit.data.imagedata import ImageData
from transferkit.quality.duplicates import count_copies, duplicate_problems, find_identical_groups
from transferkit.quality.label_errors import INSTALL, has_cleanlab, suspect_labels
from transferkit.quality.problems import AllImages
from transferkit.report.command_text import command_of


def first_look(data: ImageData, advice: Advice) -> dict[str, Any]:
    """The entry `problems` of advice.json.

    Args:
        data: All images; their hashes are known since they were loaded.
        advice: Its top stage's probes predicted images that they were not fitted on.

    Returns:
        `duplicates`, of these `across_splits` and `other_label`; `labels`, suspected label errors among `predicted`
        images, None without cleanlab.
    """
    images, measured = AllImages(data), advice.measured
    copies = duplicate_problems(images, "duplicate", find_identical_groups(images), [])
    rows = measured.held_out_rows
    labels = advice.data.fit_labels()[rows]
    suspected = len(suspect_labels(labels, measured.held_out)) if has_cleanlab() else None
    return {
        "duplicates": len(copies),
        **count_copies(images, copies),
        "labels": suspected,
        "predicted": len(np.unique(rows)),
    }


def first_look_lines(found: dict[str, Any], arguments: Sequence[str]) -> list[str]:
    """The counts in words, and the command to look closer.

    Args:
        found: From `first_look`.
        arguments: Of the command that checks the same data.
    """
    copies = "no image has the same content as another one"
    if found["duplicates"]:
        copies = f"{found['duplicates']:,} images are copies of another one (same content)"
        copies += f", {found['across_splits']:,} across splits, {found['other_label']:,} under another label"
    if found["labels"] is None:
        labels = f"label errors were not looked for: {INSTALL}"
    else:
        labels = (
            f"{found['labels']:,} of {found['predicted']:,} labels are suspected to be wrong, by held-out predictions"
        )
    return [copies, labels, f"look closer: {command_of(*arguments)}"]
