"""The comparison of networks as plain values, and from these as text and as the rows of networks.csv."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from transferkit.advisor.network_scores import (
    ALL,
    TOP,
    NetworkScore,
    best_by_prior,
    cheapest_within_error,
    difference,
)
from transferkit.advisor.networks import Comparison
from transferkit.files import write_csv, write_json
from transferkit.report.facts import duration

FILE, TABLE = "networks.json", "networks.csv"

COLUMNS = (
    *("network", "weights", "features", "C", "top1", "low", "high", "nll", "top_stage_top1", "all_stages_top1"),
    *("behind", "behind_error", "within_error", "neighbors_top1", "seconds", "load_seconds", "parameters"),
    *("memory_bytes", "imagenet_top1", "left_out"),
)
"""Of networks.csv. Accuracies in [0, 1], seconds for 1,000 images; `behind`: of the best, paired over the images."""


def to_plain(comparison: Comparison, frugal: bool) -> dict[str, Any]:
    """Everything as plain values.

    Args:
        comparison: The measured networks.
        frugal: Whether the cheapest network within a standard error is used in place of the best one.
    """
    scores = comparison.scores
    best, prior, cheap = scores[0], best_by_prior(scores), cheapest_within_error(scores)
    used = cheap if frugal else best
    return {
        "images": comparison.images,
        "selection": comparison.chooser.facts(),
        "best": best.name,
        "cheapest_within_error": cheap.name,
        "best_by_prior": prior.name if prior else None,
        "used": used.name,
        "networks": [_row(best, score) for score in scores],
        "left_out": dict(comparison.left_out),
        "notes": [_errors(scores), _used(scores, cheap, frugal), *([_prior(best, prior)] if prior else [])],
    }


def write_networks(run_dir: Path, plain: Mapping[str, Any]) -> None:
    """Write networks.json and networks.csv."""
    rows = [*plain["networks"], *({"network": name, "left_out": why} for name, why in plain["left_out"].items())]
    write_csv(run_dir / TABLE, COLUMNS, ([row.get(column, "") for column in COLUMNS] for row in rows))
    write_json(run_dir / FILE, plain)


def read_networks(run_dir: Path) -> dict[str, Any] | None:
    """Return what `write_networks` wrote to this run directory; None if nothing was compared."""
    path = run_dir / FILE
    if not path.is_file():
        return None
    plain: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return plain


def networks_text(plain: Mapping[str, Any]) -> str:
    """Return the comparison as a table in plain text."""
    return "\n".join([heading(plain), "", *_table(plain["networks"]), "", *_remarks(plain)])


def heading(plain: Mapping[str, Any]) -> str:
    """Say in a sentence how the networks were measured."""
    chosen = plain["selection"]
    how = "evaluated on val"
    if chosen["by"] == "cv":
        repeats = f" {chosen['repeats']} times" if chosen["repeats"] > 1 else ""
        how = f"cross-validated{repeats} with {chosen['folds']} folds"
    return (
        f"Networks measured on the same {plain['images']:,} images of train and val, each decoded once; {how}, "
        f"{chosen['images']:,} images predicted"
    )


def _table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    width = max(len("Network"), *(len(row["network"]) for row in rows)) + 2
    yield (
        f"{'Network':<{width}}{'top-1':>7} {'95 % interval':>15}{'stages':>8}{'behind the best':>18}{'neighbours':>12}"
        f"{'s / 1,000':>11}{'parameters':>12}{'memory':>9}{'ImageNet':>10}"
    )
    for row in rows:
        interval = f"{100 * row['low']:.1f} to {100 * row['high']:.1f}"
        behind = f"{100 * row['behind']:.1f} ± {100 * row['behind_error']:.1f}" if row is not rows[0] else ""
        known = "" if row["imagenet_top1"] is None else f"{100 * row['imagenet_top1']:.1f} %"
        yield (
            f"{row['network']:<{width}}{100 * row['top1']:>7.1f} {interval:>15}{row['features']:>8}{behind:>18}"
            f"{100 * row['neighbors_top1']:>12.1f}{row['seconds'] + row['load_seconds']:>11.2f}"
            f"{row['parameters'] / 1e6:>10.1f} M{row['memory_bytes'] / 1e6:>6.0f} MB{known:>10}"
        ).rstrip()


def _remarks(plain: Mapping[str, Any]) -> Iterator[str]:
    yield from plain["notes"]
    for name, reason in plain["left_out"].items():
        yield f"Left out: {name}: {reason}"


def _row(best: NetworkScore, score: NetworkScore) -> dict[str, Any]:
    behind, cost, (low, high) = difference(best, score), score.cost, score.interval
    probes = score.probes
    return {
        "network": score.name,
        "weights": score.weights,
        "features": score.features,
        "C": score.best.C,
        "top1": score.best.top1,
        "low": low,
        "high": high,
        "nll": score.best.nll,
        "top_stage_top1": probes[TOP].top1,
        "all_stages_top1": probes[ALL].top1 if ALL in probes else None,
        "behind": behind.mean,
        "behind_error": behind.standard_error,
        "within_error": behind.within_error,
        "neighbors_top1": score.neighbors,
        "seconds": cost.seconds,
        "load_seconds": cost.load_seconds,
        "parameters": cost.parameters,
        "memory_bytes": cost.memory,
        "imagenet_top1": score.published,
    }


def _errors(scores: Sequence[NetworkScore]) -> str:
    best, *others = scores
    close = [other.name for other in others if difference(best, other).within_error]
    if not others:
        return f"{best.name} is the only network."
    how = "(less than two standard errors, paired over the images)"
    if not close:
        return f"{best.name} is the best by measurement; no other network is within the error {how}."
    return f"{best.name} is the best by measurement; within the error {how}: {', '.join(close)}."


def _used(scores: Sequence[NetworkScore], cheap: NetworkScore, frugal: bool) -> str:
    best = scores[0]
    if cheap is best:
        return f"Used: {best.name}; no cheaper network is within one standard error of it."
    behind = difference(best, cheap)
    cheaper = (
        f"{cheap.name} is within one standard error ({100 * behind.mean:.1f} ± {100 * behind.standard_error:.1f} "
        f"points behind) and cheaper ({duration(cheap.cost.total)} in place of {duration(best.cost.total)} for 1,000 "
        "images)"
    )
    return f"Used: {cheap.name}, since {cheaper}." if frugal else f"Used: {best.name}; {cheaper}."


def _prior(best: NetworkScore, prior: NetworkScore) -> str:
    expected = (
        f"{100 * prior.published:.1f} % published on ImageNet"
        if prior.published is not None
        else f"{prior.cost.parameters / 1e6:.1f} M parameters, the most; no published accuracy is known"
    )
    if prior is best:
        return f"The best by prior is the same ({expected})."
    behind = difference(best, prior)
    return (
        f"Best by prior: {prior.name} ({expected}): {100 * prior.best.top1:.1f} % here, {100 * behind.mean:.1f} ± "
        f"{100 * behind.standard_error:.1f} points behind {best.name}."
    )
