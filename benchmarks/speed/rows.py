"""The rows by name, in the order in which they run. Those of the goals take a quarter of an hour together."""

from collections.abc import Callable
from functools import partial

from benchmarks.speed import rows_command, rows_frozen, rows_training
from benchmarks.speed.options import Options
from benchmarks.speed.results import Record

NETWORKS = ("resnet18", "resnet50", "vgg16", "vit_small_patch16_224")

ROWS: dict[str, Callable[[Options], list[Record]]] = {
    "matmul": rows_frozen.matmul,
    "probe": rows_frozen.probe,
    **{f"extraction-{name}": partial(rows_frozen.extraction, name) for name in NETWORKS},
    "stages": rows_frozen.stages,
    **{f"few-{name}": partial(rows_training.few, name) for name in NETWORKS},
    **{f"full-{name}": partial(rows_training.full, name) for name in NETWORKS},
    "second": rows_frozen.second,
    "memory": rows_command.memory,
    "startup": rows_command.startup,
    "sweep": rows_command.sweep,
    "rivals": rows_training.compare,
}

GOALS = [
    name for name in ROWS if not name.endswith(tuple(f"-{network}" for network in NETWORKS[1:])) and name != "rivals"
]
"""The rows that are measured by default."""


def chosen(given: str | None) -> list[str]:
    """The rows that `--rows` names: some of them, `all`, or by default `GOALS`."""
    return GOALS if given is None else list(ROWS) if given == "all" else given.split(",")
