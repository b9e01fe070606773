"""The executor of plans: one phase is one fit with a fixed trainable set, and what is frozen stays as it was."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.transforms import v2

from transferkit.backbones.backbone import Backbone, State, feature, pool_features
from transferkit.errors import TransferkitError
from transferkit.models.transfer_model import TransferModel
from transferkit.training.callbacks import ValidationSums
from transferkit.training.optimizers import create_optimizer
from transferkit.training.plan import Phase, Plan, differences
from transferkit.training.scheduled import ScheduledModule

NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.LocalResponseNorm)

FUSED = ("sgd", "adam", "adamw")
"""Optimizers that torch can run in one pass over the weights."""


class FinetuneModule(ScheduledModule):
    """A backbone and a linear head, trained as a plan says.

    Before each fit `begin(phase)` says which of the plan's phases it is; the first is begun already:

        for phase in module.plan.phases:
            module.begin(phase.name)
            Trainer(max_epochs=phase.epochs).fit(module, train_loader, val_loader)

    A frozen stage has no gradient; its batch norm uses running statistics and its dropout is off, whatever `.train()`
    says; the leading ones run without recording anything for a backward pass. Checkpoints hold plain containers and
    tensors, and go on with the same phase of the same plan only.

    Args:
        backbone: Trained in place, up to its top stage.
        num_classes: K.
        plan: What to train; `init` is the caller's to obey, the backbone is taken as it is.
        head: Where the head starts, for example `probe_head(LinearProbe(refit=False).fit(...), K)`; random if None.
        class_names: K names, by default the numbers.
        class_weights: (K,) factors of the loss, or None.

    Attributes:
        model: The `TransferModel`, which predicts and can be saved.
        phase: The one begun.
        rates: Learning rate of each of its trained stages.
        inputs_after: The frozen stage whose output the batches hold; None where they hold images.

    Raises:
        TransferkitError: The plan names a stage that this network does not have.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        plan: Plan,
        *,
        head: nn.Linear | None = None,
        class_names: Sequence[str] | None = None,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        top = backbone.top
        head = nn.Linear(backbone.infos[top].channels, num_classes) if head is None else head
        names = [str(i) for i in range(num_classes)] if class_names is None else list(class_names)
        self.model = TransferModel(backbone.truncate(top), head, names)
        self.plan = plan
        weights = None if class_weights is None else torch.as_tensor(class_weights, dtype=torch.float32)
        self.register_buffer("class_weights", weights, persistent=False)
        self._val = ValidationSums()
        self._mix = _mixing(plan, num_classes)
        for phase in plan.phases:
            phase.rates(self.stage_names)
        self.begin(plan.phases[0].name)

    @property
    def stage_names(self) -> tuple[str, ...]:
        """The stages of the backbone in order, and `head`."""
        return (*self.model.backbone.stage_names, "head")

    def stage(self, name: str) -> nn.Module:
        """The module of a stage."""
        return self.model.head if name == "head" else self.model.backbone.stages[name]

    def begin(self, phase: str) -> None:
        """Freeze and unfreeze for the phase of that name; to be called between fits, never in one."""
        self.phase: Phase = self.plan.phase(phase)
        self.inputs_after: str | None = None
        self.fast = None
        self.rates = self.phase.rates(self.stage_names)
        for name in self.stage_names:
            self.stage(name).requires_grad_(name in self.rates)
        for name in self.stage_names:  # a parameter that several stages share is frozen with the first of them
            if name not in self.rates:
                self.stage(name).requires_grad_(False)
        self.train(self.training)

    @property
    def frozen_prefix(self) -> tuple[str, ...]:
        """The stages of the backbone before the first trained one."""
        names = self.stage_names
        return names[: next(i for i, name in enumerate(names) if name in self.rates)]

    def frozen_keys(self) -> set[str]:
        """The entries of the state dict that belong to frozen stages."""
        kept = {f"model.head.{key}" for key in self.model.head.state_dict()} if "head" not in self.rates else set()
        for name in self.model.backbone.stage_names:
            if name not in self.rates:
                kept |= {f"model.backbone.stages.{name}.{key}" for key in self.stage(name).state_dict()}
        return kept

    def train(self, mode: bool = True) -> "FinetuneModule":
        """Set the mode of what is trained; the frozen stays in eval mode, and batch norm too if the plan says so."""
        super().train(mode)
        for name in self.stage_names:
            stage = self.stage(name)
            if name not in self.rates:
                stage.eval()
            elif self.plan.batch_norm == "running":
                for module in stage.modules():
                    if isinstance(module, _BatchNorm):
                        module.eval()
        return self

    def frozen_backbone(self) -> Backbone | None:
        """The stages before the first trained one, where the batches hold images."""
        prefix = self.frozen_prefix
        return self.model.backbone.truncate(prefix[-1]) if prefix and self.inputs_after is None else None

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K) of images (N, 3, H, W): preprocessed, or uint8, resized and cropped only."""
        backbone = self.model.backbone
        images = backbone.preprocess.finish(images).contiguous(memory_format=torch.channels_last)
        if not self.frozen_prefix:
            return self._logits(backbone(images))
        last = self.frozen_prefix[-1]
        if self.fast is not None:
            return self._logits(backbone.forward_from(last, self.fast(images, [last])[last]))
        with torch.no_grad():
            state = backbone.forward_stages(images, [last])[last]
        return self._logits(backbone.forward_from(last, state))

    def _logits(self, state: State) -> Tensor:
        """Pooled and classified in fp32, as features and probes are."""
        pooled = pool_features(feature(state).float())
        with torch.autocast(pooled.device.type, enabled=False):
            logits: Tensor = self.model.head(pooled)
        return logits

    def batch_logits(self, inputs: Tensor) -> Tensor:
        """Logits of what the batches hold."""
        if self.inputs_after is None:
            logits: Tensor = self(inputs)
            return logits
        if inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        return self._logits(self.model.backbone.forward_from(self.inputs_after, inputs))

    def configure_optimizers(self) -> dict[str, Any]:
        """The plan's optimizer, with its groups for this phase, and its schedule."""
        settings = {key: value for key, value in self.plan.optimizer.items() if key not in ("lr", "lr_scale")}
        # Half the time of a step. Together with the scaler of fp16 it would refuse to clip gradients.
        if settings["name"] in FUSED and self.device.type in ("cpu", "cuda") and self.trainer.precision != "16-mixed":
            settings = {"fused": True, **settings}
        optimizer = create_optimizer(self.parameter_groups(), settings)
        return self.with_schedule(optimizer, self.plan.schedule)

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip as the trainer says. Lightning refuses fused optimizers in bf16 too, where nothing is scaled."""
        if gradient_clip_val and gradient_clip_algorithm != "value" and optimizer.param_groups[0].get("fused"):
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            nn.utils.clip_grad_norm_(parameters, float(gradient_clip_val))
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Groups for the optimizer, named after their stages; every trained parameter is in exactly one."""
        scale, seen = float(self.plan.optimizer.get("lr_scale", 1.0)), set[int]()
        groups: list[dict[str, Any]] = []
        for name, rate in self.rates.items():
            split: dict[str, list[nn.Parameter]] = {name: [], f"{name}, no decay": []}
            for module in self.stage(name).modules():
                for key, parameter in module.named_parameters(recurse=False):
                    if not parameter.requires_grad or id(parameter) in seen:
                        continue
                    seen.add(id(parameter))
                    spared = key.endswith("bias") or isinstance(module, NORMS)
                    spared = spared and not self.plan.decay_norm_and_bias
                    split[f"{name}, no decay" if spared else name].append(parameter)
            for label, parameters in split.items():
                decay: dict[str, float] = {} if label == name else {"weight_decay": 0.0}
                if parameters:
                    groups.append({"params": parameters, "lr": rate * scale, "name": label, **decay})
        return groups

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Cross entropy of one batch of images (n, 3, H, W) and labels (n,)."""
        images, labels = batch[0], batch[1]
        n = len(labels)
        if self._mix is not None:
            images = self.model.preprocess.finish(images)
            images, labels = self._mix(images, labels)
        loss = F.cross_entropy(
            self.batch_logits(images), labels, weight=self.class_weights, label_smoothing=self.plan.label_smoothing
        )
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=n, sync_dist=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Count loss and right answers of one batch of val."""
        self._val.add(self.batch_logits(batch[0]), batch[1])

    def on_validation_epoch_end(self) -> None:
        """Log `val_loss`, `val_top1` and `val_score`."""
        self._val.log_to(self)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store what is being done."""
        checkpoint["plan"], checkpoint["phase"] = self.plan.to_mapping(), self.phase.name

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Refuse to go on with something else.

        Raises:
            TransferkitError: The checkpoint is of another plan, or another phase of it.
        """
        different = differences(checkpoint["plan"], self.plan.to_mapping())
        if checkpoint["phase"] != self.phase.name:
            different.append(f"phase {checkpoint['phase']} there and {self.phase.name} here")
        if different:
            raise TransferkitError(
                f"The checkpoint is of another training: {'; '.join(different)}. A checkpoint goes on with its own "
                "phase only; to start another strategy from a result, save the model and load it as weights."
            )


def _mixing(plan: Plan, num_classes: int) -> v2.Transform | None:
    """MixUp, CutMix, or one of them at random, as the plan has it."""
    kinds = [(v2.MixUp, plan.mixup), (v2.CutMix, plan.cutmix)]
    chosen = [kind(alpha=alpha, num_classes=num_classes) for kind, alpha in kinds if alpha]
    if len(chosen) == 2:
        return v2.RandomChoice(chosen)
    return chosen[0] if chosen else None
