"""The rows by name, in the order in which they run."""

from collections.abc import Callable
from functools import partial

from benchmarks.speed import rows_command, rows_frozen, rows_training
from benchmarks.speed.options import Options
from benchmarks.speed.results import Record

NETWORKS = ("resnet18", "resnet50", "vgg16")

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
