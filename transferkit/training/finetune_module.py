"""The Lightning module that executes a plan: one phase is one fit with a fixed trainable set."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor, nn

from transferkit.backbones.backbone import Backbone
from transferkit.errors import TransferkitError
from transferkit.models.transfer_model import TransferModel
from transferkit.targets.target import Target
from transferkit.training.adapters import add_adapters, merge_adapters
from transferkit.training.auxiliary import GROUP, WEIGHT, attached, auxiliary_classifiers, with_rate
from transferkit.training.callbacks import ValidationSums
from transferkit.training.distill import Teacher
from transferkit.training.freezing import frozen_entries, set_gradients, set_modes
from transferkit.training.l2_sp import StartingPoint
from transferkit.training.mixing import create_mixing
from transferkit.training.optimizers import create_optimizer
from transferkit.training.parameter_groups import layer_factors, parameter_groups
from transferkit.training.plan import Phase, Plan, differences
from transferkit.training.rates import adapted_rates
from transferkit.training.scheduled import ScheduledModule
from transferkit.training.split_forward import logits_after, logits_of_images

FUSED = ("sgd", "adam", "adamw")
"""Optimizers of torch's with a fused implementation."""


class FinetuneModule(ScheduledModule):
    """A backbone and a linear head, trained according to a plan.

    Before each fit `begin(phase)` selects the phase; the first is selected initially:

        for phase in module.plan.phases:
            module.begin(phase.name)
            Trainer(max_epochs=phase.epochs).fit(module, train_loader, val_loader)
            module.merge()

    A frozen stage has no gradient; its batch norm uses running statistics, its dropout and stochastic depth are off,
    whatever `.train()` says. Checkpoints hold plain containers and tensors, and resume only their own phase and plan.

    Args:
        backbone: Trained in place, up to its top stage.
        num_classes: K, the number of logits.
        plan: The phases; `init` is ignored, the backbone is used with its present weights.
        head: The initial head, for example `probe_head(LinearProbe(refit=False).fit(...), K)`; random if None.
        class_names: K names, by default the numbers; or the target of a model that predicts something else.
        class_weights: (K,) factors of the loss, or None.
        feature_norm: Mean L1 norm of the top stage's features, for `strategy.head_scale=auto`; None if unknown.

    Attributes:
        model: The `TransferModel`, which predicts and can be saved.
        teacher: For a plan with `distill`; to be set before training.
        phase: The present phase.
        auxiliary: The auxiliary classifiers, if the backbone has any; they are no part of `model`.
        rates: Learning rate of each of its trained stages, before `lr_decay`, and of the auxiliary classifiers.
        trainable_parameters: Number of parameters that it trains.
        inputs_after: The frozen stage whose activations the batches hold; None if they hold images.

    Raises:
        TransferkitError: The plan names a stage that this network does not have, or parameters that its stages lack.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        plan: Plan,
        *,
        head: nn.Linear | None = None,
        class_names: Sequence[str] | Target | None = None,
        class_weights: Sequence[float] | None = None,
        feature_norm: float | None = None,
    ) -> None:
        super().__init__()
        self.model = _model(backbone, num_classes, head, class_names)
        self.plan, self.feature_norm = plan, feature_norm
        self.auxiliary = auxiliary_classifiers(self.model.backbone, num_classes)
        self.register_buffer("class_weights", _as_tensor(class_weights), persistent=False)
        self._val = ValidationSums(self.model.target)
        self.mix = create_mixing(plan, num_classes)
        self.teacher: Teacher | None = None
        self._start = StartingPoint(self.model.backbone, plan.l2_sp) if plan.l2_sp["alpha"] else None
        self._seed = torch.initial_seed()
        for phase in plan.phases:
            phase.rates(self.stage_names)
        self.begin(plan.phases[0].name)

    @property
    def stage_names(self) -> tuple[str, ...]:
        """The stages of the backbone in order, and `head`."""
        return (*self.model.backbone.stage_names, "head")

    @property
    def named_stages(self) -> dict[str, nn.Module]:
        """The module of each stage, and the auxiliary classifiers, if any."""
        stages = {**self.model.backbone.stages, "head": self.model.head}
        return stages if self.auxiliary is None else {**stages, GROUP: self.auxiliary}

    def begin(self, phase: str) -> None:
        """Freeze and unfreeze stages for a phase; call it between fits, not during one."""
        self.merge()
        self.phase: Phase = self.plan.phase(phase)
        self.inputs_after: str | None = None
        self.fast = None
        if self.phase.parameters == "lora" and (narrowed := _narrowed(self)):
            add_adapters(narrowed, self.plan.lora, f"strategy.phases.{phase}", self._seed)
        self.rates = _set_gradients(self)
        self.trainable_parameters = sum(p.numel() for p in self.parameters() if p.requires_grad)
        self.train(self.training)

    def merge(self) -> None:
        """End a phase of LoRA by adding its adapters to the weights; after other phases do nothing."""
        merge_adapters(self.named_stages)

    @property
    def frozen_prefix(self) -> tuple[str, ...]:
        """The stages of the backbone before the first trained one."""
        return tuple(takewhile(lambda name: name not in self.rates, self.stage_names))

    def frozen_keys(self) -> set[str]:
        """The entries of the state dict that no training step changes."""
        prefixes = {name: f"model.backbone.stages.{name}" for name in self.model.backbone.stage_names}
        return frozen_entries(self.named_stages, {**prefixes, "head": "model.head", GROUP: GROUP}, self.rates)

    def train(self, mode: bool = True) -> "FinetuneModule":
        """Set the mode of trained stages; frozen ones stay in eval mode, as does batch norm on running statistics."""
        super().train(mode)
        set_modes({name: self.named_stages[name] for name in self.stage_names}, self.rates, self.plan.batch_norm)
        return self

    def frozen_backbone(self) -> Backbone | None:
        """The stages before the first trained one, if the batches hold images."""
        prefix = self.frozen_prefix
        return self.model.backbone.truncate(prefix[-1]) if prefix and self.inputs_after is None else None

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K) of images (N, 3, H, W): preprocessed, or uint8, resized and cropped only."""
        return logits_of_images(self.model, images, self.frozen_prefix, self.fast, _dropout(self))

    def batch_logits(self, inputs: Tensor) -> Tensor:
        """Logits of a batch of images or stored activations."""
        stage = self.inputs_after
        logits: Tensor = self(inputs) if stage is None else logits_after(self.model, stage, inputs, _dropout(self))
        return logits

    def configure_optimizers(self) -> Any:
        """The plan's optimizer, with its groups for this phase, and its schedule."""
        optimizer = create_optimizer(self.parameter_groups(), _optimizer_settings(self))
        return self.with_schedule(optimizer, self.plan.schedule, self.plan.swa)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Groups for the optimizer, named after their stages; every trained parameter is in exactly one."""
        return _parameter_groups(self)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The loss of one batch of images (n, 3, H, W) and labels (n,)."""
        loss = _loss(self, batch[0], batch[1])
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(batch[0]), sync_dist=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Count loss and correct predictions of one batch of val; return the model's outputs (n, K)."""
        logits = self.batch_logits(batch[0])
        self._val.add(logits, batch[1])
        return self.model.target.outputs(logits.float())

    def on_validation_epoch_end(self) -> None:
        """Log `val_loss`, `val_top1` and `val_score`."""
        self._val.log_to(self)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store plan and phase in the checkpoint."""
        checkpoint["plan"], checkpoint["phase"] = self.plan.to_mapping(), self.phase.name

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Refuse, with a `TransferkitError`, to resume another plan or another phase."""
        refuse_other_training(checkpoint, self.plan, self.phase.name)


def _model(
    backbone: Backbone, num_classes: int, head: nn.Linear | None, class_names: Sequence[str] | Target | None
) -> TransferModel:
    head = nn.Linear(backbone.width(backbone.top), num_classes) if head is None else head
    names = [str(i) for i in range(num_classes)] if class_names is None else class_names
    return TransferModel(backbone.truncate(backbone.top), head, names)


def _as_tensor(weights: Sequence[float] | None) -> Tensor | None:
    return None if weights is None else torch.as_tensor(weights, dtype=torch.float32)


def _dropout(module: FinetuneModule) -> float:
    return module.plan.head_dropout if module.training and "head" in module.rates else 0.0


def _narrowed(module: FinetuneModule) -> dict[str, nn.Module]:
    """The trained stages of the backbone of which the phase trains a part of the parameters only."""
    if module.phase.parameters == "all":
        return {}
    return {name: module.named_stages[name] for name in module.phase.rates(module.stage_names) if name != "head"}


def _set_gradients(module: FinetuneModule) -> dict[str, float]:
    """Let gradients flow to what the phase trains; return the rate of each stage that has such parameters."""
    phase, backbone = module.phase, module.model.backbone
    whole, narrowed = phase.parameters == "all", _narrowed(module)
    rates = adapted_rates(phase.rates(module.stage_names), backbone, module.plan, module.feature_norm, whole=whole)
    rates = with_rate(module.auxiliary if whole else None, rates)
    having = set_gradients(module.named_stages, rates, phase.parameters)
    if narrowed and having.isdisjoint(narrowed):
        raise TransferkitError(
            f"strategy.phases.{phase.name}.parameters={phase.parameters}: the stages {', '.join(narrowed)} of "
            f"{backbone.spec.name} have no such parameters; parameters: all trains them whole."
        )
    return {name: rate for name, rate in rates.items() if name in having}


def scaled_rates(module: FinetuneModule) -> dict[str, float]:
    """The learning rate of each stage that the module's phase trains, times `optimizer.lr_scale`."""
    scale = float(module.plan.optimizer.get("lr_scale", 1.0))
    return {name: rate * scale for name, rate in module.rates.items()}


def _parameter_groups(module: FinetuneModule) -> list[dict[str, Any]]:
    decay = module.phase.lr_decay
    factors = None if decay == 1 else layer_factors(module.model.backbone, decay)
    return parameter_groups(module.named_stages, scaled_rates(module), module.plan.decay_norm_and_bias, factors)


def _loss(module: FinetuneModule, images: Tensor, labels: Tensor) -> Tensor:
    """The target's loss, that of auxiliary classifiers and of a teacher, and the penalty, each if the plan has it."""
    if module.mix is not None:
        images = module.model.preprocess.finish(images)
        images, labels = module.mix(images, labels)
    smoothing = module.plan.label_smoothing
    criterion = partial(
        module.model.target.training_loss, labels=labels, weight=module.class_weights, smoothing=smoothing
    )
    with attached(module.auxiliary, module.named_stages, module.rates) as further:
        logits = module.batch_logits(images)
    loss: Tensor = sum((WEIGHT * criterion(extra) for extra in further), criterion(logits))
    if module.plan.distill["teacher"] is not None:
        loss = _teacher(module).loss(images, logits, loss)
    start = module._start
    return loss if start is None else loss + start.penalty(module.model.backbone, module.model.head)  # type: ignore[arg-type]


def _teacher(module: FinetuneModule) -> Teacher:
    if module.teacher is None or module.inputs_after is not None:
        raise TransferkitError(
            "A plan with strategy.distill.teacher needs images, not activations, and module.teacher = "
            "transferkit.training.distill.Teacher(...)."
        )
    return module.teacher


def _optimizer_settings(module: FinetuneModule) -> dict[str, Any]:
    """The plan's optimizer without its rates; fused where it can be, which halves the time of a step."""
    settings = {key: value for key, value in module.plan.optimizer.items() if key not in ("lr", "lr_scale")}
    if module.plan.l2_sp["alpha"]:  # it draws to the pretrained weights in place of zero
        settings["weight_decay"] = 0.0
    # Fusing cannot be combined with gradient clipping under the scaler of fp16.
    fused = module.device.type in ("cpu", "cuda") and module.trainer.precision != "16-mixed"
    return {"fused": True, **settings} if fused and settings["name"] in FUSED and "source" not in settings else settings


def refuse_other_training(checkpoint: Mapping[str, Any], plan: Plan, phase: str) -> None:
    """Raise a `TransferkitError` if a checkpoint is of another plan or another phase."""
    different = differences(checkpoint["plan"], plan.to_mapping())
    if checkpoint["phase"] != phase:
        different.append(f"phase {checkpoint['phase']} there and {phase} here")
    if different:
        raise TransferkitError(
            f"The checkpoint is of another training: {'; '.join(different)}. A checkpoint resumes only its own phase"
            "; to start another strategy from a result, save the model and load it as weights."
        )
