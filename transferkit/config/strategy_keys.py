"""The keys of the group `strategy`, which depend on the node that determines its kind."""

from fnmatch import fnmatch
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from transferkit.choices import (
    C_COUNT,
    GRADIENT_CS,
    LORA_TARGETS,
    NEIGHBORS,
    PROBE,
    STAGES,
    TOP,
    Classifier,
    Combine,
    InitMethod,
    LoraTarget,
    Metric,
    Parameters,
    Pool,
    Solver,
)
from transferkit.config.node import Batch, Epochs, Images, Node, Path, Rate, Smoothing, Steps, Text
from transferkit.errors import TransferkitError, unknown_name

C = Annotated[float, Field(gt=0, le=1e12)]
"""Inverse strength of the regularisation of a logistic regression."""
Grid = Annotated[list[C], Field(min_length=1, max_length=1000)]
StageNames = Annotated[
    list[Text], Field(min_length=1, max_length=100, description="a list of stage names such as [top]")
]


class Strategy(Node):
    """Keys of every strategy."""

    name: Text


class Probe(Node):
    """The node `probe`."""

    stages: StageNames = Field(default=[TOP])
    Cs: Annotated[int, Field(ge=1, le=1000)] | Grid = C_COUNT
    classifiers: list[Classifier] = Field(default=["logistic"], min_length=1, max_length=10)
    balance: Literal["auto"] | bool = False
    class_weights: Literal["none", "balanced"] = "none"

    @model_validator(mode="after")
    def _weights_where_there_are_any(self) -> Self:
        if self.class_weights == "balanced" and self.classifiers != ["logistic"]:
            raise TransferkitError(
                "strategy.probe.class_weights=balanced is for strategy.probe.classifiers=[logistic]; discriminant and "
                "ridge have no class weights."
            )
        return self


class GradientProbe(Node):
    """The node `gradient`: a probe that is trained in epochs."""

    epochs: Epochs = 10
    min_steps: Steps = 1000
    lr: Rate = 3.0e-2
    Cs: Grid = Field(default=list(GRADIENT_CS))


class OneProbe(Strategy):
    """Strategies with a node `probe`: a linear classifier on one stage."""

    probe: Probe
    pool: Pool = "auto"
    solver: Solver = "exact"
    gradient: GradientProbe = GradientProbe()

    @model_validator(mode="after")
    def _weights_of_exact_probes(self) -> Self:
        if self.solver == "gradient" and self.probe.class_weights == "balanced":
            raise TransferkitError("strategy.probe.class_weights=balanced is for strategy.solver=exact.")
        return self


class SeveralProbes(OneProbe):
    """The same with `combine`: linear classifiers on several stages."""

    combine: Combine


class ProbeHeads(Node):
    """The arguments of `training.probe_module.ProbeModule` that are also keys."""

    pool: Pool
    Cs: Grid
    combine: Combine


class Neighbors(Node):
    """The node `neighbors`."""

    stages: StageNames = Field(default=[TOP])
    metrics: list[Metric] = Field(default=["l2", "cosine"], min_length=1, max_length=10)
    ks: list[Annotated[int, Field(ge=1, le=10_000)]] = Field(default=list(NEIGHBORS), min_length=1, max_length=1000)


class NearestNeighbor(Strategy):
    """Strategies with a node `neighbors`."""

    neighbors: Neighbors
    pool: Pool = "auto"


def _stages(train: dict[str, Any]) -> dict[str, Any]:
    for pattern in train:
        if pattern != TOP and not any(fnmatch(stage, pattern) for stage in STAGES):
            raise ValueError(unknown_name("", pattern, (TOP, *STAGES), "stage like").removeprefix(": "))
    if not any(rate is not None for rate in train.values()):
        raise ValueError("trains nothing: give a learning rate by stage, e.g. head: 1e-3.")
    return train


StageRate = Annotated[
    Rate | None,
    Field(json_schema_extra={"meaning": "learning rate of the stages that this name or pattern matches; null freezes"}),
]
LrDecay = Annotated[
    float,
    Field(gt=0, le=1, json_schema_extra={"meaning": "factor of the rate for every layer further from the head"}),
]


class Phase(Node):
    """One of `phases`; `meaning` explains in the docs a key that no file has."""

    epochs: Epochs
    train: Annotated[
        dict[str, StageRate],
        AfterValidator(_stages),
        Field(json_schema_extra={"description": "a mapping from stages to learning rates"}),
    ]
    min_steps: Steps = 0
    lr_decay: LrDecay = 1.0
    parameters: Parameters = "all"


def _phases(phases: dict[str, Any]) -> dict[str, Any]:
    if not any(phase is not None for phase in phases.values()):
        raise ValueError("has no phases, so there is nothing to train: see conf/strategy/finetune_few.yaml.")
    for name in phases:
        if not name.strip(" .") or not all(c.isalnum() or c in "_-. " for c in name) or len(name) > 64:
            raise ValueError(f"has a phase called {name!r}: a name is of letters, digits, _ and -.")
    return phases


class Lora(Node):
    """The node `lora`: the adapters of phases with `parameters: lora`."""

    rank: int = Field(default=8, ge=1, le=4096)
    alpha: float = Field(default=16.0, gt=0, le=100_000)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: list[LoraTarget] = Field(default=list(LORA_TARGETS), min_length=1, max_length=3)


class L2Sp(Node):
    """The node `l2_sp`: a penalty on the distance from the pretrained weights."""

    alpha: float = Field(default=0.0, ge=0, le=1000)
    beta: float = Field(default=0.01, ge=0, le=1000)


class Swa(Node):
    """The node `swa`: stochastic weight averaging."""

    start: Annotated[float, Field(ge=0, lt=1)] | None = None
    lr: float = Field(default=0.5, gt=0, le=1000)


class Distill(Node):
    """The node `distill`: a teacher whose probabilities are targets, too."""

    teacher: Path | None = None
    temperature: float = Field(default=2.0, gt=0, le=1000)
    weight: float = Field(default=0.5, gt=0, le=1)


class FinetuningOptions(Node):
    """Keys of a finetuning strategy besides its phases, explained in `training.plan.Plan`."""

    init: Literal["pretrained", "random"] = "pretrained"
    head: Literal["probe", "random"] = "probe"
    batch_norm: Literal["running", "batch"] = "running"
    decay_norm_and_bias: bool = False
    label_smoothing: Smoothing = 0.1
    mixup: float = Field(0.0, ge=0, le=100)
    cutmix: float = Field(0.0, ge=0, le=100)
    ema: float = Field(0.0, ge=0, lt=1)
    class_weights: Literal["none", "balanced"] = "none"
    early_stopping: Epochs | None = None
    gradient_clip: Annotated[float, Field(gt=0, le=1e6)] | None = None
    batch_size: Batch = 32
    accumulate: int = Field(1, ge=1, le=100_000)
    lora: Lora = Lora()
    network_init: InitMethod = "default"
    head_init: InitMethod = "default"
    init_value: float = Field(0.01, ge=-100, le=100)
    head_dropout: float = Field(0.0, ge=0, lt=1)
    l2_sp: L2Sp = L2Sp()
    swa: Swa = Swa()
    wise_ft: Literal["auto"] | Annotated[float, Field(ge=0, le=1)] | None = None
    distill: Distill = Distill()
    head_scale: Literal["auto"] | Annotated[float, Field(gt=0, le=1000)] = "auto"
    layer_norm_scale: float = Field(0.1, gt=0, le=1000)

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        random_network, random_head = self.init == "random", self.head == "random"
        mistakes = {
            "strategy.network_init is for weights that start at random, with strategy.init=random.": (
                self.network_init != "default" and not random_network
            ),
            "strategy.head_init is for a head that starts at random, with strategy.head=random.": (
                self.head_init != "default" and not random_head
            ),
            "strategy.l2_sp.alpha needs pretrained weights to stay near, but strategy.init=random has none.": (
                self.l2_sp.alpha > 0 and random_network
            ),
            "strategy.wise_ft takes the mean with the start, which is of use with strategy.init=pretrained and "
            "strategy.head=probe only.": self.wise_ft is not None and (random_network or random_head),
            "strategy.distill.teacher=probe needs strategy.init=pretrained and strategy.head=probe.": (
                self.distill.teacher == PROBE and (random_network or random_head)
            ),
            "strategy.ema and strategy.swa.start are two averages of the weights: choose one.": (
                self.ema > 0 and self.swa.start is not None
            ),
        }
        if found := [sentence for sentence, wrong in mistakes.items() if wrong]:
            raise TransferkitError("\n".join(found))
        return self


class Finetuning(FinetuningOptions, Strategy):
    """Strategies with a node `phases`."""

    phases: Annotated[
        dict[str, Phase | None],
        AfterValidator(_phases),
        Field(json_schema_extra={"description": "a mapping of names to epochs and train"}),
    ]


class AutoOptions(Node):
    """The node `auto`."""

    trials: bool = True
    budget: Literal["auto"] | Annotated[float, Field(ge=0, le=1)] = "auto"
    contenders: int = Field(3, ge=1, le=100)
    share: float = Field(0.25, gt=0, le=0.5)
    max_images: Images = 20000
    average: bool = True


class Auto(Strategy):
    """Strategies with a node `auto`."""

    auto: AutoOptions


STRATEGIES: dict[str, type[Strategy]] = {
    "combine": SeveralProbes,
    "probe": OneProbe,
    "neighbors": NearestNeighbor,
    "phases": Finetuning,
    "auto": Auto,
}
"""The first of these keys that a strategy has determines its other keys."""
