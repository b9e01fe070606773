"""Linear probes of several stages trained together by gradient, over one frozen forward pass.

For augmented images, streams, and features too large to cache; otherwise `LinearProbe` on `extract_features` is exact
and faster. Both minimise mean cross entropy + ||W||^2 / (2 C n) on features scaled alike, here by all rows seen so far.
A thousand steps of 64 images come near the minimum for C up to about 0.1; with larger C training stops earlier, which
regularises, too. A last batch that is not full weights its images more: use `drop_last`.
Alain & Bengio 2016, Understanding intermediate layers using linear classifier probes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from transferkit.backbones.backbone import Backbone
from transferkit.choices import GRADIENT_CS
from transferkit.config.schema import check_node
from transferkit.config.strategy_keys import ProbeHeads as ProbeKeys
from transferkit.errors import TransferkitError, unknown_name
from transferkit.models.transfer_model import TransferModel
from transferkit.training.optimizers import create_optimizer
from transferkit.training.plan import differences
from transferkit.training.probe_heads import (
    HeadSums,
    ProbeHeads,
    create_heads,
    head_losses,
    joint_objective,
    observe_batch,
    stacked_logits,
)
from transferkit.training.probe_inputs import name_probes, probe_features, probe_widths
from transferkit.training.probe_results import ProbeResults, log_best
from transferkit.training.scheduled import ScheduledModule

OPTIMIZER = {"name": "adam", "lr": 3e-2, "betas": (0.9, 0.99)}
SCHEDULE = {"name": "cosine", "warmup": 0.1}


class ProbeModule(ScheduledModule):
    """Linear classifiers at several stages, each with several values of C, on one forward pass of a frozen backbone.

    The backbone stays bit-identical and in eval mode, whatever `.train()` says.

        module = ProbeModule(backbone, 102, ["stage3", "stage5"])
        Trainer(max_epochs=20).fit(module, train_loader, val_loader)
        model = module.model()

    Args:
        backbone: The network; stages after the last one needed do not run.
        num_classes: K.
        stages: Names or patterns; by default the top feature stage.
        pool: How features are pooled, as in `extract_features`.
        Cs: Inverse regularisation strengths, all trained; the best on val is selected.
        combine: "best" for a probe of each stage, or "concat" for one on all stages' features (`stage3+stage5`).
        num_images: n, the training images without repetition; by default the length of the train loader's data set.
        optimizer: `create_optimizer`'s settings. Weight decay would add to the penalty.
        schedule: `create_schedule`'s settings.
        class_names: K names, by default the numbers.

    Attributes:
        probes: Name of each probe to its stages.

    Raises:
        TransferkitError: An unknown stage, pooling or `combine`, or a C that is not positive.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        stages: Sequence[str] | None = None,
        *,
        pool: str = "auto",
        Cs: Sequence[float] = GRADIENT_CS,
        combine: str = "best",
        num_images: int | None = None,
        optimizer: Mapping[str, Any] = OPTIMIZER,
        schedule: Mapping[str, Any] = SCHEDULE,
        class_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        values = check_node(ProbeKeys, {"pool": pool, "Cs": Cs, "combine": combine}, "")["Cs"]
        self.probes = name_probes(backbone, stages, combine)
        self.stages = list(dict.fromkeys(stage for taken in self.probes.values() for stage in taken))
        self.backbone = backbone.truncate(self.stages[-1]).eval().requires_grad_(False)
        self.pool = self.backbone.pool_name(pool)
        self.Cs = tuple(sorted({float(C) for C in values}))
        self.num_images = num_images
        self.class_names = [str(i) for i in range(num_classes)] if class_names is None else list(class_names)
        self._optimizer, self._schedule = dict(optimizer), dict(schedule)
        self.layers = create_heads(probe_widths(self.backbone, self.probes, self.pool), num_classes, self.Cs)
        self.results = ProbeResults(list(self.probes), self.Cs)
        self._train_sums, self._val_sums = HeadSums(), HeadSums()

    @property
    def heads(self) -> dict[str, ProbeHeads]:
        """Name of each probe to its layers."""
        return dict(self.layers.items())  # type: ignore[arg-type]

    def frozen_backbone(self) -> Backbone:
        """All of the backbone."""
        return self.backbone

    def frozen_keys(self) -> set[str]:
        """The entries of the state dict that belong to the backbone."""
        return {f"backbone.{key}" for key in self.backbone.state_dict()}

    def train(self, mode: bool = True) -> "ProbeModule":
        """Set the mode of everything but the backbone, which stays in eval mode."""
        super().train(mode).backbone.eval()
        return self

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Pooled features (N, D) for each probe, of images (N, 3, H, W): preprocessed, or uint8 and of that size."""
        return probe_features(self.backbone, self.probes, self.pool, images, self.fast)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Logits (N, number of Cs, K) of each probe, for preprocessed images (N, 3, H, W)."""
        logits = stacked_logits(self.heads, self.features(images))
        return dict(zip(self.probes, torch.split(logits, len(self.Cs), dim=1), strict=True))

    def on_train_start(self) -> None:
        """Determine the number of training images."""
        super().on_train_start()
        self.num_images = self.num_images or count_images(self.trainer.train_dataloader)
        for layers in self.heads.values():
            layers.images.fill_(self.num_images)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Sum of the objectives of all heads on one batch of images (n, 3, H, W) and labels (n,)."""
        features, labels = self.features(batch[0]), batch[1]
        for name, layers in self.heads.items():
            observe_batch(self, layers, features[name])
        logits = stacked_logits(self.heads, features)
        losses = head_losses(logits, labels)
        self._train_sums.add(losses.detach(), logits, labels, anew=batch_idx == 0)
        return joint_objective(self.heads, losses, self.num_images or 1)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Count loss and correct predictions of one batch of val, for every head."""
        logits = stacked_logits(self.heads, self.features(batch[0]))
        self._val_sums.add(head_losses(logits, batch[1]), logits, batch[1], anew=batch_idx == 0)

    def on_validation_epoch_end(self) -> None:
        """Log `val_loss`, `val_top1` and `val_score` of the best head, and its `train_loss` in this epoch."""
        if not self.trainer.sanity_checking:
            log_best(self, self.results, self._train_sums, self._val_sums)

    @property
    def figures(self) -> dict[str, list[dict[str, float]]]:
        """For each probe, one row per value of C: `C`, `val_top1`, `val_nll`, from the last pass over val."""
        return self.results.figures

    def best_row(self, probe: str) -> dict[str, float]:
        """The best row of a probe's `figures`; a `TransferkitError` if val was never passed over."""
        return self.results.best_row(probe)

    @property
    def best(self) -> tuple[str, float]:
        """Name and C of the probe that is best on val."""
        return self.results.best

    def head(self, stage: str, C: float | None = None) -> torch.nn.Linear:
        """A copy of the layer for raw features (N, D), on the CPU; C is by default the best on val."""
        if stage not in self.probes:
            raise TransferkitError(unknown_name("stage", stage, list(self.probes), "probe"))
        return self.heads[stage].linear(self.results.best_C(stage) if C is None else C)

    def model(self, stage: str | None = None, C: float | None = None) -> TransferModel:
        """The network up to the best (or named) probe's last stage, with its head, in eval mode; raises as `head`."""
        name = stage or self.best[0]
        head, taken = self.head(name, C), self.probes[name]
        model = TransferModel(self.backbone.truncate(taken[-1]), head, self.class_names, taken, self.pool)
        return model.to(next(self.backbone.parameters()).device).eval()

    def configure_optimizers(self) -> Any:
        """The optimizer and its schedule."""
        optimizer = create_optimizer([{"params": list(self.layers.parameters()), "name": "heads"}], self._optimizer)
        return self.with_schedule(optimizer, self._schedule)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the settings in the checkpoint."""
        checkpoint["probes"] = describe_probes(self)

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Refuse, with a `TransferkitError`, to resume other probes."""
        if different := differences(checkpoint.get("probes", {}), describe_probes(self)):
            raise TransferkitError(f"The checkpoint is of other probes: {'; '.join(different)}.")


def describe_probes(module: ProbeModule) -> dict[str, Any]:
    """The settings that a checkpoint and the module that resumes from it must share."""
    names, classes = list(module.probes), len(module.class_names)
    return {"names": names, "pool": module.pool, "Cs": list(module.Cs), "classes": classes}


def count_images(loader: Any) -> int:
    """The images of a train loader.

    Raises:
        TransferkitError: The number is unknown.
    """
    try:
        return len(loader.dataset)
    except (AttributeError, TypeError):
        raise TransferkitError(
            "The number of training images, which C is relative to, is unknown from the train loader: "
            "ProbeModule(..., num_images=N)."
        ) from None
