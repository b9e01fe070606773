"""Groups of runs that differ only in the seed: mean and spread of accuracy, mean cost."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from transferkit.compare.collect import FinishedRun
from transferkit.compare.testsets import Comparable
from transferkit.compare.variants import Variant, family, find_variants, show_variant
from transferkit.ranking import rank
from transferkit.report.facts import NOT_FINETUNED


@dataclass(frozen=True)
class Spread:
    """Values of several seeds: mean, number, minimum, maximum and sample standard deviation.

    The last is None for fewer than three values, which are too few to estimate it.
    """

    mean: float
    n: int
    low: float
    high: float
    deviation: float | None


@dataclass(frozen=True, eq=False)
class Group:
    """Runs of one backbone, strategy and setting on one test set.

    Attributes:
        backbone: Its name.
        weights: Their name.
        strategy: Its name.
        variant: The settings, other than the seed, in which it differs from other groups.
        runs: One per seed, in the order of the seeds.
        repeated: Number of older runs with the same seeds, which are ignored.
    """

    backbone: str
    weights: str
    strategy: str
    variant: Variant
    runs: Sequence[FinishedRun]
    repeated: int

    @property
    def label(self) -> str:
        """Strategy, and the settings that vary, except the size of the subset."""
        more = show_variant(self.variant)
        return f"{self.strategy} ({more})" if more else self.strategy

    @property
    def network(self) -> str:
        """Backbone and weights."""
        return f"{self.backbone} ({self.weights})"

    @property
    def seeds(self) -> list[int]:
        """The seeds of the runs."""
        return [run.metrics["seed"] for run in self.runs]

    @property
    def not_finetuned(self) -> str:
        """That, and in how many runs, the probe's head was kept; empty if in none."""
        count = sum(run.metrics.get("finetuned") is False for run in self.runs)
        where = "" if count == len(self.runs) else f" in {count} of {len(self.runs)} runs"
        return NOT_FINETUNED.replace(":", where + ":") if count else ""

    @property
    def top1(self) -> Spread:
        """Test top-1 accuracy."""
        return spread([run.metrics["test"]["top1"] for run in self.runs])

    @property
    def balanced(self) -> Spread:
        """Test balanced accuracy."""
        return spread([run.metrics["test"]["balanced_accuracy"] for run in self.runs])

    @property
    def val_top1(self) -> float:
        """Mean val top-1 accuracy over the runs."""
        return fmean(run.metrics["val"]["top1"] for run in self.runs)

    @property
    def val_nll(self) -> float:
        """Mean val negative log-likelihood over the runs, nats; infinite where a run does not say it."""
        losses = [run.metrics["val"].get("nll") for run in self.runs]
        return fmean(math.inf if loss is None else loss for loss in losses)

    @property
    def seconds(self) -> float:
        """Mean duration of a run."""
        return fmean(run.metrics["seconds"]["total"] for run in self.runs)

    @property
    def uncached_seconds(self) -> float | None:
        """The same as if the cache had been empty: with the time that the features found there took to compute.

        None where a run does not say.
        """
        found = [uncached_seconds(run) for run in self.runs]
        known = [seconds for seconds in found if seconds is not None]
        return fmean(known) if len(known) == len(found) else None

    @property
    def cost(self) -> float:
        """The seconds without a cache where they are known, else as measured."""
        return self.seconds if self.uncached_seconds is None else self.uncached_seconds

    @property
    def trainable_parameters(self) -> float:
        """Mean over the runs: the stage selected on val may differ between seeds."""
        return fmean(run.metrics["trainable_parameters"] for run in self.runs)

    @property
    def per_class(self) -> float | None:
        """Labelled images (train and val) per class, on average."""
        counts = [run.per_class for run in self.runs]
        known = [count for count in counts if count is not None]
        return fmean(known) if known else None


def uncached_seconds(run: FinishedRun) -> float | None:
    """Return the duration of a run if it had found nothing in the cache; None where it does not say."""
    cached = run.metrics.get("cached")
    if cached is None or cached["seconds"] is None:
        return None
    return float(run.metrics["seconds"]["total"] + cached["seconds"])


def spread(values: Sequence[float]) -> Spread:
    """Summarise the values of several seeds."""
    deviation = stdev(values) if len(values) > 2 else None
    return Spread(fmean(values), len(values), min(values), max(values), deviation)


def make_groups(comparable: Comparable) -> list[Group]:
    """Group the runs of one test set, sorted by images per class (descending) and rank on val (the best first).

    Of several runs with the same seed in a group only the newest is used: they are one result, not several.
    """
    groups: dict[tuple[Any, ...], list[FinishedRun]] = {}
    variants: dict[tuple[Any, ...], Variant] = {}
    for run, variant in zip(comparable.runs, find_variants(comparable.runs), strict=True):
        key = (*family(run), json.dumps(variant, sort_keys=True, default=str))
        groups.setdefault(key, []).append(run)
        variants[key] = variant
    made = [_make_group(runs, variants[key]) for key, runs in groups.items()]
    by_name = sorted(made, key=lambda group: group.label)
    by_rank = sorted(by_name, key=lambda group: rank(group.val_top1, group.val_nll), reverse=True)
    return sorted(by_rank, key=lambda group: -round(group.per_class or 0, 1))


def _make_group(runs: Sequence[FinishedRun], variant: Variant) -> Group:
    newest = {run.metrics["seed"]: run for run in sorted(runs, key=lambda run: run.time)}
    kept = [newest[seed] for seed in sorted(newest)]
    return Group(*family(runs[0]), variant, kept, len(runs) - len(kept))


def pareto_front(groups: Sequence[Group]) -> list[Group]:
    """Return the Pareto-optimal groups (no other is both faster and more accurate), the fastest first."""
    front: list[Group] = []
    for group in sorted(groups, key=lambda group: (group.cost, -group.top1.mean)):
        if not front or group.top1.mean > front[-1].top1.mean:
            front.append(group)
    return front


def by_images(groups: Sequence[Group]) -> Mapping[float, list[Group]]:
    """Return the groups by labelled images per class, most first.

    Groups that differ by less than a tenth of an image per class count as equal, since splits round differently.
    """
    found: dict[float, list[Group]] = {}
    for group in groups:
        found.setdefault(round(group.per_class or 0, 1), []).append(group)
    return dict(sorted(found.items(), reverse=True))


def show_images(group: Group) -> str:
    """Write the labelled images per class."""
    return "?" if group.per_class is None else f"{group.per_class:.0f}"


def short_names(groups: Sequence[Group]) -> dict[Group, str]:
    """Name groups for a figure or a sentence: the label, with network and images per class if these vary."""
    networks, levels = {group.network for group in groups}, by_images(groups)
    return {
        group: ", ".join(
            [group.label]
            + ([group.network] if len(networks) > 1 else [])
            + ([f"{show_images(group)} images"] if len(levels) > 1 else [])
        )
        for group in groups
    }


def show_spread(spread: Spread) -> str:
    """Write percent: `97.2 ± 0.3` (sample standard deviation), minimum and maximum in brackets for two."""
    mean = f"{100 * spread.mean:.1f}"
    if spread.deviation is not None:
        return f"{mean} ± {100 * spread.deviation:.1f}"
    return mean if spread.n == 1 else f"{mean} ({100 * spread.low:.1f} – {100 * spread.high:.1f})"
