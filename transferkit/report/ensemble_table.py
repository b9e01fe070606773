"""The figures of an ensemble: its gain over its members, their disagreement, and a table for the screen."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from transferkit.report.facts import percent, show_score
from transferkit.report.parts_by_target import main_name
from transferkit.report.score_columns import heading_text, score_columns, score_text
from transferkit.targets.target import Outputs, Target


def disagreement(each: Sequence[Outputs], target: Target) -> float:
    """Return how much two members differ (`Target.difference`), the mean over all pairs."""
    pairs = [target.difference(one, other) for one, other in combinations(each, 2)]
    return float(np.mean(pairs)) if pairs else 0.0


def gain(score: float | None, members: Sequence[float | None], main: str = "top1") -> dict[str, float | None]:
    """Return the main metric of the members, mean and best, and how much more an ensemble has.

    Args:
        score: Of the ensemble; None where it is undefined on these images.
        members: Theirs.
        main: Key of the metric, which is the better the higher it is.
    """
    known = [one for one in members if one is not None]
    mean, best = (float(np.mean(known)), max(known)) if known else (None, None)
    over_mean, over_best = (None if score is None or one is None else score - one for one in (mean, best))
    return {f"mean_{main}": mean, f"best_{main}": best, "gain_over_mean": over_mean, "gain_over_best": over_best}


def gain_words(found: Mapping[str, Any], kind: str) -> str:
    """Return the gain in a sentence without a full stop."""
    column = score_columns(kind)[0]
    gains = [found["gain_over_mean"], found["gain_over_best"]]
    if None in gains:
        return f"{main_name(kind)} is not defined on these images"
    if column.format == "share":
        over_mean, over_best = (f"{100 * one:+.2f}" for one in gains)
        return f"{over_mean} points over the mean of the members, {over_best} over the best"
    over_mean, over_best = (f"{one:+.4f}" for one in gains)
    return f"{over_mean} of {main_name(kind)} over the mean of the members, {over_best} over the best"


def disagreement_words(found: Mapping[str, Any], kind: str) -> str:
    """Return the disagreement of two members in words."""
    if kind == "regression":
        return f"their values by {show_score(found['disagreement'], 'number')}"
    return f"{percent(found['disagreement'], 2)} of the {'labels' if kind == 'multilabel' else 'images'}"


def ensemble_table(metrics: Mapping[str, Any], kind: str) -> str:
    """Return the lines of the members and of the result, with the gain, the disagreement and the cost.

    Args:
        metrics: The content of metrics.json.
        kind: Of the target.
    """
    found, test = metrics["ensemble"], metrics["test"]
    width = max(len(row["run"]) for row in found["members"])
    named = max(width, len(found["how"]))
    lines = [f"  {'':{named}}  {heading_text(kind)}"]
    rows = [(row["run"], row["test"], row.get("share")) for row in found["members"]]
    for name, figures, share in [*rows, (found["how"], test, None)]:
        weight = "" if share is None else f"  {100 * share:.0f} % of the mean"
        lines.append(f"  {name:{named}}  {score_text(figures, kind)}{weight}")
    if "kept" in found:
        lines.append(f"  in the soup: {', '.join(found['kept'])}")
    same, differ = found["disagreement"] == 0, disagreement_words(found, kind).replace("\u202f", " ")
    return "\n".join(
        [
            *lines,
            f"  gain                {gain_words(found, kind)}",
            *(["  all members predict the same: none adds anything"] if same else []),
            f"  disagreement        {differ}, mean over pairs of members",
            f"  cost                {found['networks']} forward passes an image, {metrics['total_parameters']:,} "
            "parameters",
        ]
    )
