"""Figures of the advice page."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from transferkit.advisor.quadrant import TABLE
from transferkit.report.figures import INK, LINES, MUTED, RULE, new_figure, to_svg

TICKS = tuple(digit * 10.0**power for power in range(-3, 5) for digit in (1, 2, 5))


def quadrant_figure(large: float, different: float) -> str:
    """Draw the quadrant of size and similarity with the position of the data.

    Args:
        large: Probability that the data are large.
        different: Probability that they are different from the source's.
    """
    with new_figure(4.9, 3.4) as (figure, axes):
        axes.grid(False)
        axes.axhline(0.5, color=RULE, lw=1.2)
        axes.axvline(0.5, color=RULE, lw=1.2)
        for (size, similarity), name in TABLE.items():
            x, y = (0.75 if similarity == "different" else 0.25), (0.25 if size == "large" else 0.75)
            chosen = (large >= 0.5) == (size == "large") and (different >= 0.5) == (similarity == "different")
            axes.text(x, y, name, ha="center", va="center", color=INK if chosen else MUTED, weight="normal")
        axes.plot([different], [1 - large], "o", color=LINES[1], ms=11, clip_on=False, zorder=5)
        axes.set(xlim=(0, 1), ylim=(0, 1))
        axes.set_xticks([0.25, 0.75], ["similar", "different"])
        axes.set_yticks([0.25, 0.75], ["large", "small"])
        axes.tick_params(length=0)
        return to_svg(figure, "The quadrant of size and similarity, with the position of this data set")


def curve_figure(curve: Mapping[str, Any]) -> str:
    """Draw top-1 on val (percent) over the number of training images: measured, fitted, extrapolated to twice as many.

    Args:
        curve: As in advice.json.
    """
    sizes, accuracy = np.asarray(curve["sizes"]), 100 * np.asarray(curve["accuracy"])
    with new_figure(4.9, 2.8) as (figure, axes):
        axes.plot(sizes, accuracy, "o", color=LINES[0], ms=4, label="measured")
        if curve["fit"]:
            fit, most = curve["fit"], max(sizes)
            n = np.geomspace(min(sizes), 2 * most, 60)
            axes.plot(n, 100 * (1 - fit["floor"] - fit["scale"] * n ** -fit["exponent"]), "--", color=MUTED, lw=1.2)
            middle = 100 * (1 - fit["floor"] - fit["scale"] * most ** -fit["exponent"])
            low, high = middle + 100 * curve["low"], middle + 100 * curve["high"]
            axes.plot([2 * most] * 2, [low, high], color=LINES[1], lw=2)
            axes.plot([2 * most], [middle + 100 * curve["gain"]], "o", color=LINES[1], ms=6, label="twice the images")
            axes.legend(frameon=False, labelcolor=INK, loc="lower right")
        axes.set_xscale("log", base=2)
        ticks = sorted({*sizes.tolist(), 2 * max(sizes)})
        axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        axes.minorticks_off()
        axes.set(xlabel="training images", ylabel="top-1 on val, %")
        return to_svg(figure, "Learning curve of the top stage's probe, with an interval for twice the images")


def distance_figure(stages: Mapping[str, float], threshold: float) -> str:
    """Draw the distance of activation statistics by stage, with the threshold between similar and different."""
    with new_figure(4.9, 2.4) as (figure, axes):
        axes.bar(list(stages), list(stages.values()), 0.6, color=LINES[0], alpha=0.35, ec=LINES[0])
        axes.axhline(threshold, ls="--", color=MUTED, lw=1)
        axes.set_ylim(0, 1.15 * max([*stages.values(), threshold]))
        axes.set_ylabel("divergence, nats")
        return to_svg(figure, "Distance of the activations from the source's statistics, by stage")


def networks_figure(rows: Sequence[Mapping[str, Any]], used: str) -> str:
    """Draw top-1 (percent, with its 95 % interval) over the seconds of 1,000 images, one labelled point per network.

    Args:
        rows: As in advice.json under `networks`.
        used: The network that the advice is for; its point is filled.
    """
    seconds = [row["seconds"] + row["load_seconds"] for row in rows]
    with new_figure(6.4, 3.4) as (figure, axes):
        for row, at, colour in zip(rows, seconds, LINES * len(rows), strict=False):
            axes.vlines(at, 100 * row["low"], 100 * row["high"], color=colour, alpha=0.4, lw=2)
            fill = colour if row["network"] == used else "none"
            axes.plot(at, 100 * row["top1"], "o", color=colour, mfc=fill, ms=8, clip_on=False)
            axes.annotate(row["network"], (at, 100 * row["top1"]), (7, 3), textcoords="offset points", color=INK)
        axes.set_xscale("log")
        axes.set_xlim(min(seconds) / 1.5, max(seconds) * 3)  # labels are to the right of their points
        ticks = [tick for tick in TICKS if min(seconds) / 1.5 <= tick <= max(seconds) * 3]
        axes.set_xticks(ticks, [f"{tick:g} s" for tick in ticks])
        axes.minorticks_off()
        axes.set(xlabel="time of 1,000 images", ylabel="top-1, %")
        return to_svg(figure, "Top-1 accuracy over the time of 1,000 images, by network")
