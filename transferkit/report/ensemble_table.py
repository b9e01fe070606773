"""The figures of an ensemble: its gain over its members, their disagreement, and a table for the screen."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from transferkit.arrays import Probabilities


def disagreement(each: Sequence[Probabilities]) -> float:
    """Return the share of images (0 to 1) that two members predict as different classes, the mean over all pairs."""
    predicted = [one.argmax(axis=1) for one in each]
    pairs = [float((one != other).mean()) for one, other in combinations(predicted, 2)]
    return float(np.mean(pairs)) if pairs else 0.0


def gain(top1: float, members: Sequence[float]) -> dict[str, float]:
    """Return the accuracy of the members, mean and best, and how much more an ensemble has."""
    mean, best = float(np.mean(members)), max(members)
    return {"mean_top1": mean, "best_top1": best, "gain_over_mean": top1 - mean, "gain_over_best": top1 - best}


def ensemble_table(metrics: Mapping[str, Any]) -> str:
    """Return the lines of the members and of the result, with the gain, the disagreement and the cost."""
    found, test = metrics["ensemble"], metrics["test"]
    width = max(len(row["run"]) for row in found["members"])
    named = max(width, len(found["how"]))
    lines = [f"  {'':{named}}  {'top-1':>8}  {'ECE':>7}  {'NLL':>7}"]
    rows = [(row["run"], row["test"], row.get("share")) for row in found["members"]]
    for name, figures, share in [*rows, (found["how"], test, None)]:
        cells = f"{100 * figures['top1']:6.2f} %  {100 * figures['ece']:5.2f} %  {figures['nll']:7.4f}"
        cells += "" if share is None else f"  {100 * share:.0f} % of the mean"
        lines.append(f"  {name:{named}}  {cells}")
    if "kept" in found:
        lines.append(f"  in the soup: {', '.join(found['kept'])}")
    same = found["disagreement"] == 0
    return "\n".join(
        [
            *lines,
            f"  gain                {100 * found['gain_over_mean']:+.2f} points over the mean of the members, "
            f"{100 * found['gain_over_best']:+.2f} over the best",
            *(["  all members predict the same: none adds anything"] if same else []),
            f"  disagreement        {100 * found['disagreement']:.2f} % of the images, mean over pairs of members",
            f"  cost                {found['networks']} forward passes an image, {metrics['total_parameters']:,} "
            "parameters",
        ]
    )
