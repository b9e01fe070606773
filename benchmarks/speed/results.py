"""The measurements of a row: plain records, one per line of JSON."""

from collections.abc import Sequence
from statistics import median
from typing import Any

from benchmarks.speed.clock import spread

Record = dict[str, Any]


def goal(
    what: str,
    against: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    *,
    unit: str,
    shown: str,
    at_least: float | None = None,
    at_most: float | None = None,
    limit: str = "",
    note: str = "",
) -> Record:
    """A line of the table of goals.

    Args:
        what: That was measured.
        against: What it is compared with.
        ours: Its repeats.
        theirs: Repeats of what it is compared with.
        unit: Of both.
        shown: How the ratio is formed: "ours/theirs" or "theirs/ours".
        at_least: Goal for the ratio, or
        at_most: The other kind of goal.
        limit: Fraction of the hardware's limit that is reached.
        note: What else is to be said.
    """
    a, b = median(ours), median(theirs)
    ratio = a / b if shown == "ours/theirs" else b / a
    wanted = f"≥ {at_least:g}" if at_least is not None else f"≤ {at_most:g}" if at_most is not None else ""
    met = (at_least is None or ratio >= at_least) and (at_most is None or ratio <= at_most)
    cells = {
        "measurement": what,
        "transferkit": f"{spread(list(ours))} {unit}",
        "compared with": against,
        "its result": f"{spread(list(theirs))} {unit}",
        "ratio": f"{ratio:.3g}",
        "goal": wanted,
        "reached": ("yes" if met else "**no**") if wanted else "",
        "of the limit": limit,
        "note": note,
    }
    return {"table": "goals", "cells": cells, "ours": list(ours), "theirs": list(theirs), "ratio": ratio, "met": met}


def entry(table: str, **cells: Any) -> Record:
    """A line of another table: column to value, `_` in names standing for a space."""
    return {"table": table, "cells": {name.replace("_", " "): value for name, value in cells.items()}}
