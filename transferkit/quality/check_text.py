"""The result of a check in a few lines for the screen."""

from collections.abc import Mapping
from typing import Any

from transferkit.quality.problems import KINDS

WEAK = 0.9
"""Accuracy of the probe below which most suspected label errors can be its own mistakes."""

UNITS = {"confused_classes": "pair", "few_images": "class", "imbalance": "class"}
"""The unit of the counts, where it is not images."""


def count_words(kind: str, counts: Mapping[str, Any]) -> str:
    """The number of problems of one kind in words: "5 images: 4 train, 1 test; 1 across splits"."""
    total, unit = counts["all"], UNITS.get(kind, "image")
    if not total:
        return "none"
    words = f"{total:,} {unit}" + ("" if total == 1 else "es" if unit.endswith("s") else "s")
    parts = [f"{counts[name]:,} {name}" for name in ("train", "val", "test") if counts.get(name)]
    words += f": {', '.join(parts)}" if parts else ""
    words += f"; {counts['across_splits']:,} across splits" if counts.get("across_splits") else ""
    return words + (f"; {counts['other_label']:,} under another label" if counts.get("other_label") else "")


def weak_probe(top1: float, counts: Mapping[str, Mapping[str, Any]]) -> str:
    """A warning where label errors are suspected by a probe that errs often itself; else ""."""
    if top1 >= WEAK or not counts.get("label", {}).get("all"):
        return ""
    return (
        f"The probe is right on {100 * top1:.1f} % of the images only, so many suspected label errors are its own "
        "mistakes: the first rows are the likeliest ones, and a better backbone makes the list shorter."
    )


def count_lines(counts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A line for each kind that was looked for."""
    return [f"  {KINDS[kind].title.lower():<36}{count_words(kind, row)}" for kind, row in counts.items()]
