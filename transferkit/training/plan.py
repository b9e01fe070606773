"""A strategy as data: phases in order, each with its trained stages, learning rates and epochs. No torch."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from transferkit.backbones.stages import CANONICAL, match_stages
from transferkit.choices import TOP
from transferkit.config.compose import load_strategy_settings
from transferkit.config.schema import check_group, check_node
from transferkit.config.strategy_keys import Distill, FinetuningOptions, L2Sp, Lora, Swa
from transferkit.config.strategy_keys import Phase as PhaseKeys
from transferkit.errors import TransferkitError, unknown_name


@dataclass(frozen=True)
class Phase:
    """One fit with a fixed set of trained stages; all other stages are frozen.

    Attributes:
        name: For logs, checkpoints and reports.
        train: Stage or pattern ("fc*"; `top` is the last stage before the head) to learning rate. If several match
            a stage, a literal name precedes a pattern, and a later one an earlier one. None freezes it.
        epochs: Each is followed by a pass over val.
        min_steps: Minimum number of optimizer steps; on small data an epoch then makes several passes.
        lr_decay: The rate of a layer is multiplied by this once for every layer above it, the head included: the
            layer-wise decay of BEiT (Bao et al. 2022) with the layers of timm's `param_groups_layer_decay`, which are
            the blocks of a transformer. Networks that are not timm's count stages.
        parameters: Trained inside the stages: "all"; "norms", the scale and shift of norm layers; "biases_and_norms"
            (BitFit, Ben Zaken et al. 2022); "lora", low-rank adapters (Hu et al. 2022). The head is trained whole.
    """

    name: str
    train: Mapping[str, float | None]
    epochs: int
    min_steps: int = 0
    lr_decay: float = 1.0
    parameters: str = "all"

    def __post_init__(self) -> None:
        keys = {name: getattr(self, name) for name in PhaseKeys.model_fields}
        check_node(PhaseKeys, keys, f"strategy.phases.{self.name}")

    def _key(self, name: str) -> str:
        return f"strategy.phases.{self.name}.{name}"

    def rates(self, stages: Sequence[str]) -> dict[str, float]:
        """The learning rate of each trained stage before `lr_decay`, in the order of `stages`.

        Args:
            stages: Of the network, in order, the last being `head`.

        Raises:
            TransferkitError: A name that this network does not have (a pattern may match none).
        """
        top = stages[-2]
        rates: dict[str, float | None] = {}
        for literal in (False, True):
            for pattern, rate in self.train.items():
                name = top if pattern == TOP else pattern
                if (name in CANONICAL) is literal:
                    rates |= dict.fromkeys(match_stages([name], stages, self._key("train")), rate)
        found = {stage: rate for stage in stages if (rate := rates.get(stage)) is not None}
        if not found:
            raise TransferkitError(f"{self._key('train')} names none of this network's stages: {', '.join(stages)}.")
        return found

    def passes(self, images: int, batch: int) -> int:
        """Passes over train per epoch, so that `min_steps` is reached.

        Args:
            images: Number of training images.
            batch: Images per optimizer step.
        """
        steps = math.ceil(self.min_steps / self.epochs)
        return 1 if images // batch >= steps else max(math.ceil(steps * batch / images), 1)


@dataclass(frozen=True)
class Plan:
    """The training settings of a strategy.

    Attributes:
        name: Of the strategy.
        phases: In order; each starts from the best epoch of the previous one.
        init: "pretrained", or "random" for the baseline without pretraining (He et al. 2019, Rethinking ImageNet
            pre-training).
        head: Initial head: "probe", the exact logistic regression on the top stage's features with C selected on
            val (Kumar et al. 2022), or "random".
        batch_norm: Of trained stages: "running" normalises with the source's statistics, unchanged; "batch" with those
            of each batch, as in training from scratch.
        optimizer: `create_optimizer`'s settings, and `lr_scale`, which multiplies the rates of the phases.
        schedule: `create_schedule`'s settings.
        decay_norm_and_bias: Whether weight decay applies to biases and the scales of norms too.
        label_smoothing: Fraction of the target spread over all classes (Szegedy et al. 2016).
        mixup: Alpha of MixUp (Zhang et al. 2018); 0 for none.
        cutmix: Alpha of CutMix (Yun et al. 2019); 0 for none. With both, each batch gets one of them.
        ema: Decay of the moving average of the weights, which is then validated and saved; 0 for none.
        class_weights: "none", or "balanced": inversely proportional to the class frequencies.
        early_stopping: Epochs without improvement on val after which a phase ends; None for never.
        gradient_clip: Maximum norm of the gradient; None for no limit.
        batch_size: Images per batch, over all devices.
        accumulate: Batches per optimizer step.
        lora: Of phases with `parameters="lora"`: `rank`, `alpha`, `dropout`, and `targets`, some of
            `choices.LORA_TARGETS`.
        network_init: How the weights of `init="random"` start, one of `choices.INIT_METHODS` (`training.initialise`).
        head_init: The same for a head that starts at random.
        init_value: Standard deviation of "gaussian", value of "constant".
        head_dropout: Share of the head's inputs that are zero in training; the others are scaled up.
        l2_sp: `alpha` and `beta` of the penalty on the distance from the pretrained weights (`training.l2_sp`).
        swa: `start` and `lr` of stochastic weight averaging (`training.averaging`).
        wise_ft: Share of the finetuned weights in their mean with the initial ones (WiSE-FT, Wortsman et al. 2022);
            "auto": chosen on held-out images; None for no mean.
        distill: `teacher`, `temperature` and `weight` (`training.distill`).
        head_scale: Factor of the head's rates; "auto" lowers them for features of large norm (`training.rates`).
        layer_norm_scale: Factor of the rates below the head in a pretrained network with layer norm.
    """

    name: str
    phases: tuple[Phase, ...]
    init: str = "pretrained"
    head: str = "probe"
    batch_norm: str = "running"
    optimizer: Mapping[str, Any] = field(default_factory=lambda: {"name": "adamw", "weight_decay": 0.05})
    schedule: Mapping[str, Any] = field(default_factory=lambda: {"name": "one_cycle"})
    decay_norm_and_bias: bool = False
    label_smoothing: float = 0.1
    mixup: float = 0.0
    cutmix: float = 0.0
    ema: float = 0.0
    class_weights: str = "none"
    early_stopping: int | None = None
    gradient_clip: float | None = None
    batch_size: int = 32
    accumulate: int = 1
    lora: Mapping[str, Any] = field(default_factory=lambda: Lora().model_dump())
    network_init: str = "default"
    head_init: str = "default"
    init_value: float = 0.01
    head_dropout: float = 0.0
    l2_sp: Mapping[str, Any] = field(default_factory=lambda: L2Sp().model_dump())
    swa: Mapping[str, Any] = field(default_factory=lambda: Swa().model_dump())
    wise_ft: str | float | None = None
    distill: Mapping[str, Any] = field(default_factory=lambda: Distill().model_dump())
    head_scale: str | float = "auto"
    layer_norm_scale: float = 0.1

    def __post_init__(self) -> None:
        if not self.phases:
            raise TransferkitError(f"strategy={self.name} has no phases.")
        keys = {name: getattr(self, name) for name in FinetuningOptions.model_fields}
        check_node(FinetuningOptions, keys, "strategy")
        if self.l2_sp["alpha"] and any(phase.parameters == "lora" for phase in self.phases):
            raise TransferkitError(
                "strategy.l2_sp.alpha does nothing in phases with parameters: lora, which leave the "
                "pretrained weights as they are."
            )

    @classmethod
    def from_mapping(cls, strategy: Mapping[str, Any], **more: Any) -> "Plan":
        """The plan of a strategy's YAML.

        Args:
            strategy: Its content: `name`, `phases` (name to the keys of a `Phase`), and further keys of a plan.
            more: Keys from other groups: `optimizer`, `schedule`.

        Raises:
            TransferkitError: A key or a stage that does not exist, or a value that cannot be used.
        """
        if "phases" not in strategy:
            raise TransferkitError(
                f"strategy={strategy.get('name')} has no phases, so there is nothing to train: phases are a mapping of "
                "names to epochs and train (conf/strategy/finetune_few.yaml)."
            )
        keys = check_group("strategy", strategy)
        phases = keys.pop("phases")  # strategy.phases.NAME=null removes one
        built = tuple(Phase(name=name, **given) for name, given in phases.items() if given is not None)
        return cls(phases=built, **keys, **more)

    def phase(self, name: str) -> Phase:
        """The phase of that name."""
        names = [phase.name for phase in self.phases]
        if name not in names:
            raise TransferkitError(unknown_name("strategy.phases", name, names, "phase"))
        return self.phases[names.index(name)]

    def to_mapping(self) -> dict[str, Any]:
        """The plan as plain containers, for storing and comparing."""
        values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return values | {"phases": {phase["name"]: phase for phase in values["phases"]}}


def load_strategy(name: str, overrides: Sequence[str] = ()) -> Plan:
    """The plan of a finetuning strategy, for `FinetuneModule`.

    Args:
        name: Of a YAML in conf/strategy: "finetune_few".
        overrides: As on the command line: "strategy.phases.tail.epochs=3", "optimizer=sgd".

    Raises:
        TransferkitError: The strategy is unknown or has no phases, or an override is wrong.
    """
    return plan_of(load_strategy_settings(name, overrides))


def plan_of(settings: Mapping[str, Any]) -> Plan:
    """The plan of a resolved configuration."""
    optimizer = {key: value for key, value in settings["optimizer"].items() if key != "lr"}
    return Plan.from_mapping(settings["strategy"], optimizer=optimizer, schedule=settings["schedule"])


def differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """The differences of two nested settings, in words."""
    there, here = _flat(theirs), _flat(ours)
    keys = sorted(there.keys() | here.keys())
    return [f"{key} {there.get(key)} there and {here.get(key)} here" for key in keys if there.get(key) != here.get(key)]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
