"""The winner among groups of runs, where there is one: the group that all others are significantly worse than."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from transferkit.compare.collect import FinishedRun
from transferkit.compare.correct_images import Correct, differences, read_correct
from transferkit.compare.groups import Group, by_images
from transferkit.compare.paired import Difference, compare_paired, holm
from transferkit.ranking import rank


@dataclass(frozen=True, eq=False)
class Contest:
    """Groups with equally many images per class, each compared with the most accurate of them on the same test images.

    Attributes:
        best: The most accurate on test.
        others: The rest, with its difference from the best; None where no predictions can be compared.
        adjusted: p of each difference, adjusted for their number.
        confidence: Of the intervals; a group is worse if its adjusted p is below 1 - confidence.
        images: Number of test images.
    """

    best: Group
    others: Mapping[Group, Difference | None]
    adjusted: Mapping[Group, float]
    confidence: float
    images: int

    @property
    def tied(self) -> list[Group]:
        """The best group, and those that cannot be told apart from it."""
        return [self.best, *(group for group in self.others if not self._is_worse(group))]

    @property
    def winner(self) -> Group | None:
        """The group that all others are worse than."""
        return self.best if self.others and len(self.tied) == 1 else None

    def verdict(self, group: Group) -> str:
        """Return one of winner, best, worse, cannot be told apart, not paired; nothing where there is one group."""
        if not self.others:
            return ""
        if group is self.best:
            return "winner" if self.winner else "best"
        if self.others[group] is None:
            return "not paired"
        return "worse" if self._is_worse(group) else "cannot be told apart"

    def sentence(self, names: Mapping[Group, str]) -> str:
        """Return the result in a sentence; nothing where there is one group.

        Args:
            names: Of the groups.
        """
        if not self.others:
            return ""
        n = f"{self.images:,} test images"
        if self.winner:
            level = f"{1 - self.confidence:.2g}"
            return f"Winner: {names[self.best]}; every other group is worse on the same {n} (p < {level}, Holm)."
        unpaired = [names[group] for group, found in self.others.items() if found is None]
        listed = [names[group] for group in self.tied if names[group] not in unpaired]
        said = f"{', '.join(listed)} cannot be told apart on {n}" if len(listed) > 1 else f"{listed[0]} is the best"
        more = f"; not compared, since predictions of the same images are missing: {', '.join(unpaired)}"
        return f"No clear winner: {said}{more if unpaired else ''}."

    def _is_worse(self, group: Group) -> bool:
        return self.others[group] is not None and self.adjusted[group] < 1 - self.confidence


def hold_contests(groups: Sequence[Group], images: int, confidence: float) -> list[Contest]:
    """Return the contests among the groups of one test set, one for each number of images per class.

    Args:
        groups: All of them.
        images: Number of test images.
        confidence: Of the intervals and of the winner, a fraction.
    """
    levels = by_images(groups).values()
    several = [run for level in levels if len(level) > 1 for group in level for run in group.runs]
    correct = {run: read_correct(run) for run in several}
    return [_hold(level, correct, images, confidence) for level in levels]


def _hold(
    groups: Sequence[Group], correct: Mapping[FinishedRun, Correct | None], images: int, confidence: float
) -> Contest:
    best = max(groups, key=lambda group: (round(group.top1.mean, 9), rank(group.val_top1, group.val_nll)))
    others: dict[Group, Difference | None] = {}
    for group in groups:
        if group is not best:
            blocks = differences(group.runs, best.runs, correct)
            others[group] = compare_paired(blocks, confidence) if blocks else None
    tested = [group for group, found in others.items() if found is not None]
    values = [found.p for found in others.values() if found is not None]
    return Contest(best, others, dict(zip(tested, holm(values), strict=True)), confidence, images)
