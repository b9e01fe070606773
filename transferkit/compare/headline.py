"""The finding of a comparison in one line: the best group, and a cheaper one that is as good."""

from transferkit.compare.groups import Group, show_images, show_spread
from transferkit.compare.winner import Contest

PARTS = {2: "half", 3: "a third", 4: "a quarter", 5: "a fifth", 10: "a tenth", 20: "a twentieth"}
"""How a fraction 1/n of a cost is written."""

CHEAPER = 1.5
"""A group is called cheaper if the best one costs at least so many times as much."""


def headline(contest: Contest) -> str:
    """Return the finding of a contest; nothing where there is one group.

    Costs are those of runs that find nothing in the cache (`Group.cost`). A group is within the error of the best one
    if the test of their difference on the same images does not tell them apart.
    """
    if not contest.others:
        return ""
    best = contest.best
    images = "" if best.per_class is None else f" with {show_images(best)} images per class"
    said = f"{_name(best)}{images}: {show_spread(best.top1)} %, best of {len(contest.others) + 1}"
    equal = [group for group in contest.tied if contest.others.get(group) is not None]
    cheapest = min(equal, key=lambda group: group.cost, default=None)
    if cheapest is not None and best.cost >= CHEAPER * cheapest.cost:
        name = _name(cheapest) if cheapest.backbone != best.backbone else cheapest.label
        return f"{said}; {name} is within its error at {_share(cheapest.cost, best.cost)} of the cost"
    if contest.winner:
        return f"{said}; every other one is worse"
    return f"{said}; {len(equal)} cannot be told apart from it, none much cheaper" if equal else said


def _name(group: Group) -> str:
    return f"{group.label} on {group.backbone}"


def _share(cost: float, whole: float) -> str:
    times = round(whole / cost) if cost else 0
    return PARTS.get(times, f"{100 * cost / whole:.1g} %")
