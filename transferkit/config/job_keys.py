"""The keys of the groups trainer, task, selection and logger, and of the node cache."""

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from transferkit import choices
from transferkit.config.mistakes import explain
from transferkit.config.node import Batch, Epochs, Images, Node, Path, Smoothing, Text
from transferkit.errors import TransferkitError


class Trainer(Node):
    """The group `trainer`."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    devices: int = Field(1, ge=1, le=64)
    precision: choices.Precision = "auto"
    compile: Literal["auto"] | bool = "auto"
    batch_size: Batch = 64
    num_workers: Literal["auto"] | Annotated[int, Field(ge=0, le=256)] = "auto"


class Cache(Node):
    """The node `cache`."""

    enabled: bool = True
    dir: Path | None = None
    ram_gb: float = Field(4, ge=0, le=1e6)
    max_gb: float = Field(20, gt=0, le=1e6)


def _share(text: str) -> str:
    found = re.fullmatch(r"(\d{1,3})/(\d{1,3})", text)
    i, n = map(int, found.groups()) if found else (0, 0)
    if not 1 <= i <= n <= choices.SHARDS:
        raise TransferkitError(
            f"extract.shard={text} must be i/n, the i-th of n shares, such as 1/4; n is at most {choices.SHARDS}."
        )
    return text


class Calibrate(Node):
    """The node `calibrate`."""

    temperature: bool = True
    known: Annotated[float, Field(ge=0.5, lt=1)] | None = 0.95


class Report(Node):
    """The node `report`."""

    map: Literal["tsne", "umap", "pca"] | None = "tsne"


class Extract(Node):
    """The node `extract`."""

    shard: Annotated[str, AfterValidator(_share)] | None = None


def _key(value: Any) -> Any:
    if isinstance(value, float):  # a key such as 12e4
        raise TransferkitError("cache.clear reads as a number; in quotes it is a key: cache.clear=\"'12e4'\".")
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class CacheToClear(Cache):
    """The node `cache` of task=cache."""

    clear: (
        Annotated[
            str,
            BeforeValidator(_key),
            Field(min_length=1, max_length=128, description="all, unused, old, or the beginning of a key"),
        ]
        | None
    ) = None
    unused_days: float = Field(30, ge=0, le=36500)


class Task(Node):
    """The group `task`, where a task has no keys of its own."""

    name: Literal["fit", "evaluate", "cache", "inspect", "export", "demo"]


class Predict(Node):
    """The group `task` of task=predict."""

    name: Literal["predict"]
    coverage: Annotated[float, Field(ge=0.5, lt=1)] | None = None


class Compare(Node):
    """The group `task` of task=compare."""

    name: Literal["compare"]
    confidence: float = Field(0.95, ge=0.5, lt=1)


class Fuse(Node):
    """The group `task` of task=fuse."""

    name: Literal["fuse"]
    how: Literal["mean", "uniform_soup", "greedy_soup"] = "mean"


class Advise(Node):
    """The group `task` of task=advise."""

    name: Literal["advise"]
    max_images: Images = 20000


class Check(Node):
    """The group `task` of task=check."""

    name: Literal["check"]
    labels: Literal["auto"] | bool = "auto"
    neighbors: int = Field(10, ge=1, le=1000)
    outlier: float = Field(3.5, gt=0, le=1000)
    confused: float = Field(0.2, gt=0, lt=1)
    pictures: int = Field(24, ge=0, le=1000)


class Embed(Node):
    """The group `task` of task=embed."""

    name: Literal["embed"]
    stage: Text | None = None
    pool: choices.Pool = "auto"
    format: Literal["npy", "parquet"] = "npy"


class EmbedIndex(Node):
    """The node `embed`, of task=embed."""

    index: Literal["faiss"] | None = None


class Demo(Node):
    """The node `demo`, of task=demo."""

    host: Text = "127.0.0.1"
    port: int = Field(7860, ge=0, le=65535)


class Pretrain(Node):
    """The group `task` of task=pretrain."""

    name: Literal["pretrain"]
    epochs: Epochs = 10
    label_smoothing: Smoothing = 0.1
    dtype: choices.WeightType = "float32"
    network_init: choices.InitMethod = "default"
    init_value: float = Field(0.01, ge=-100, le=100)


Bound = Annotated[float, Field(ge=-1e9, le=1e9)]


class Range(Node):
    """Numbers from `low` to `high`, on a logarithmic scale if `log`."""

    low: Bound
    high: Bound
    log: bool = False

    @field_validator("high")
    @classmethod
    def _above(cls, high: float, info: ValidationInfo) -> float:
        if high <= info.data.get("low", high - 1):
            raise ValueError(f"{high:g} must be above low.")
        return high

    @field_validator("log")
    @classmethod
    def _positive(cls, log: bool, info: ValidationInfo) -> bool:
        if log and info.data.get("low", 1) <= 0:
            raise ValueError("a logarithmic scale needs low above 0.")
        return log


def _searched(space: dict[str, Any]) -> dict[str, Any]:
    """Check the values of every key that is searched: a list, or a `Range`, which is completed."""
    mistakes, checked = list[str](), dict[str, Any]()
    for key, values in space.items():
        checked[key] = values
        if isinstance(values, list) and values:
            continue
        try:
            checked[key] = Range.model_validate(values).model_dump()
        except ValidationError as error:
            mistakes += explain(error, Range, values, f"task.space.{key}")
    if mistakes:
        raise TransferkitError("\n".join(mistakes))
    return checked


SEARCHED = ("linear_probe", "stage_probe", "finetune_few", "finetune_many", "full_finetune", "lp_ft")


SPACE: dict[str, Any] = {"lr": {"low": 1e-4, "high": 1e-2, "log": True}, "augment": ["none", "light", "strong"]}


class Search(Node):
    """The group `task` of task=search."""

    name: Literal["search"]
    trials: int = Field(20, ge=1, le=100_000)
    strategies: list[Text] = Field(default=list(SEARCHED), min_length=1, max_length=100)
    space: Annotated[
        dict[str, Any],
        AfterValidator(_searched),
        Field(json_schema_extra={"description": "a mapping from keys to a list of values, or to low, high and log"}),
    ] = Field(default=SPACE)
    storage: Path | None = None


TASKS: dict[str, type[Node]] = {
    **dict.fromkeys(("fit", "evaluate", "cache", "inspect", "export", "demo"), Task),
    "predict": Predict,
    "advise": Advise,
    "compare": Compare,
    "fuse": Fuse,
    "check": Check,
    "embed": Embed,
    "pretrain": Pretrain,
    "search": Search,
}
"""Name of a task to its keys."""


class Logger(Node):
    """The group `logger`: a table, or nothing."""

    name: Literal["csv", "none"] = "csv"


class TensorBoard(Node):
    """logger=tensorboard."""

    name: Literal["tensorboard"]
    dir: Path | None = None


class MLflow(Node):
    """logger=mlflow."""

    name: Literal["mlflow"]
    uri: Text | None = None
    experiment: Text = "transferkit"


class Wandb(Node):
    """logger=wandb."""

    name: Literal["wandb"]
    project: Text = "transferkit"
    entity: Text | None = None
    offline: bool = False


LOGGERS: dict[str, type[Node]] = {
    **dict.fromkeys(("csv", "none"), Logger),
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "wandb": Wandb,
}
"""Name of a logger to its keys."""


class Selection(Node):
    """The group `selection`."""

    name: choices.Selection = "auto"
    min_val: int = Field(200, ge=0, le=1_000_000_000)
    folds: int = Field(5, ge=2, le=100)
    repeats: Literal["auto"] | Annotated[int, Field(ge=1, le=100)] = "auto"
    finetune_folds: int = Field(3, ge=2, le=20)
