"""Linear probes of several stages trained together by gradient, over one frozen forward pass."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import ModuleDict

from transferkit.backbones.backbone import Backbone, feature, pool_features
from transferkit.backbones.stages import match_stages
from transferkit.choices import GRADIENT_CS
from transferkit.config.schema import check_node
from transferkit.config.strategy_keys import ProbeHeads as ProbeKeys
from transferkit.errors import TransferkitError, unknown_name
from transferkit.models.transfer_model import TransferModel
from transferkit.ranking import best_stage, row_rank, score
from transferkit.training.optimizers import create_optimizer
from transferkit.training.plan import differences
from transferkit.training.probe_heads import HeadSums, ProbeHeads, head_losses
from transferkit.training.scheduled import ScheduledModule

OPTIMIZER = {"name": "adam", "lr": 3e-2, "betas": (0.9, 0.99)}
SCHEDULE = {"name": "cosine", "warmup": 0.1}


class ProbeModule(ScheduledModule):
    """Linear classifiers at several stages, each with several values of C, on one forward pass of a frozen backbone.

    For augmented images, streams, and data too large to keep features of; elsewhere `LinearProbe` on
    `extract_features` is exact and faster. Both minimise the same function: mean cross entropy + ||W||^2 / (2 C n) on
    standardised features, which here are standardised by all rows seen so far. A thousand steps of 64 images come near
    its minimum for C up to about 0.1; larger ones stop earlier, which regularises, too. A last batch that is not full
    weighs its images more: leave it out (`drop_last`).

        module = ProbeModule(backbone, 102, ["stage3", "stage5"])
        Trainer(max_epochs=20).fit(module, train_loader, val_loader)
        model = module.model()

    The backbone stays in eval mode, whatever `.train()` says, and keeps every bit of its parameters and buffers; its
    parameters no longer ask for a gradient. Alain & Bengio 2016, Understanding intermediate layers using linear
    classifier probes.

    Args:
        backbone: The network; stages after the last one wanted do not run.
        num_classes: K.
        stages: Names or patterns; by default the top feature stage.
        pool: How feature maps are pooled, as in `extract_features`.
        Cs: Inverse regularisation strengths, all trained; the best one on val is kept.
        combine: "best" for a probe of each stage, or "concat" for one of all stages side by side (`stage3+stage5`).
        num_images: n, the training images without repetition; by default the length of the train loader's data set.
        optimizer: `create_optimizer`'s settings. Weight decay would come on top of the penalty.
        schedule: `create_schedule`'s settings.
        class_names: K names, by default the numbers.

    Attributes:
        probes: Name of each probe to its stages.

    Raises:
        TransferkitError: An unknown stage, pooling or `combine`, or a C that is not positive.
    """

    val_right: Tensor
    val_nll: Tensor
    val_count: Tensor

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        stages: Sequence[str] | None = None,
        *,
        pool: str = "avg",
        Cs: Sequence[float] = GRADIENT_CS,
        combine: str = "best",
        num_images: int | None = None,
        optimizer: Mapping[str, Any] = OPTIMIZER,
        schedule: Mapping[str, Any] = SCHEDULE,
        class_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        values = check_node(ProbeKeys, {"pool": pool, "Cs": Cs, "combine": combine}, "")["Cs"]
        self.stages = match_stages(stages or [backbone.top], backbone.stage_names)
        if not self.stages:
            raise TransferkitError(f"stages={stages} names none of {', '.join(backbone.stage_names)}.")
        self.backbone = backbone.truncate(self.stages[-1]).eval().requires_grad_(False)
        self.pool = pool
        self.Cs = tuple(sorted({float(C) for C in values}))
        choices = [self.stages] if combine == "concat" else [[stage] for stage in self.stages]
        self.probes = {"+".join(choice): choice for choice in choices}
        self.num_images = num_images
        self.class_names = [str(i) for i in range(num_classes)] if class_names is None else list(class_names)
        self._optimizer, self._schedule = dict(optimizer), dict(schedule)
        example = next(self.backbone.parameters()).new_zeros(1, 3, *self.backbone.preprocess.input_size)
        widths = {name: rows.shape[1] for name, rows in self.features(example).items()}
        self.layers = ModuleDict({name: ProbeHeads(widths[name], num_classes, self.Cs) for name in self.probes})
        # What val said last; in buffers, so that it is where the weights are, in every checkpoint.
        size = len(self.probes), len(self.Cs)
        self.register_buffer("val_right", torch.zeros(size, dtype=torch.int64))
        self.register_buffer("val_nll", torch.zeros(size))
        self.register_buffer("val_count", torch.zeros((), dtype=torch.int64))
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
        super().train(mode)
        self.backbone.eval()
        return self

    @torch.no_grad()
    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Pooled features (N, D) for each probe, of images (N, 3, H, W): preprocessed, or uint8 and of that size."""
        if self.fast is not None:
            states = self.fast(images, self.stages)
        else:
            images = self.backbone.preprocess.finish(images)
            states = self.backbone.forward_stages(images.contiguous(memory_format=torch.channels_last), self.stages)
        pooled = {stage: pool_features(feature(state).float(), self.pool) for stage, state in states.items()}
        return {name: torch.cat([pooled[stage] for stage in taken], dim=1) for name, taken in self.probes.items()}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Logits (N, number of Cs, K) of each probe, for preprocessed images (N, 3, H, W)."""
        features = self.features(images)
        with torch.autocast(images.device.type, enabled=False):
            return {name: heads(features[name]) for name, heads in self.heads.items()}

    def on_train_start(self) -> None:
        """Find out how many images there are."""
        super().on_train_start()
        if self.num_images is None:
            try:
                self.num_images = len(self.trainer.train_dataloader.dataset)
            except (AttributeError, TypeError):
                raise TransferkitError(
                    "The train loader does not say how many images it has, which C is relative to: "
                    "ProbeModule(..., num_images=N)."
                ) from None

    def on_train_epoch_start(self) -> None:
        """Count anew."""
        self._train_sums = HeadSums()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Sum of the objectives of all heads on one batch of images (n, 3, H, W) and labels (n,)."""
        images, labels = batch[0], batch[1]
        features = self.features(images)
        with torch.autocast(images.device.type, enabled=False):
            for name, heads in self.heads.items():
                self._observe(heads, features[name])
            logits = torch.stack([heads(features[name]) for name, heads in self.heads.items()], dim=1)
            losses = head_losses(logits.flatten(1, 2), labels)
            self._train_sums.add(losses.detach(), logits.flatten(1, 2), labels)
            penalties = torch.cat([heads.penalties(self.num_images or 1) for heads in self.heads.values()])
            objective: Tensor = (losses.mean(dim=0) + penalties).sum()
        return objective

    def _observe(self, heads: ProbeHeads, rows: Tensor) -> None:
        """Let the standardisation see a batch; that of all processes, where they share one."""
        var, mean = torch.var_mean(rows, dim=0, correction=0)
        moments = self.all_gather(torch.stack([torch.full_like(mean, len(rows)), mean, var]))
        for n, mean, var in moments.reshape(-1, 3, rows.shape[1]):
            heads.observe(n[0].long(), mean, var)

    def on_validation_epoch_start(self) -> None:
        """Count anew."""
        self._val_sums = HeadSums()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Count loss and right answers of one batch of val, for every head."""
        images, labels = batch[0], batch[1]
        logits = torch.stack(list(self(images).values()), dim=1).flatten(1, 2)
        self._val_sums.add(head_losses(logits, labels), logits, labels)

    def on_validation_epoch_end(self) -> None:
        """Log `val_loss`, `val_top1` and `val_score` of the best head, and its `train_loss` in this epoch."""
        if self._val_sums.values is None or self.trainer.sanity_checking:
            return
        loss, right, count = self._val_sums.over_processes(self)
        self.val_right.copy_(right.reshape(self.val_right.shape))
        self.val_nll.copy_((loss / count).reshape(self.val_nll.shape))
        self.val_count.copy_(count[0])
        name, C = self.best
        row = self.figures[name][self.Cs.index(C)]
        self.log_dict({"val_loss": row["val_nll"], "val_top1": row["val_top1"]}, prog_bar=True)
        self.log("val_score", score(row["val_top1"], row["val_nll"], int(self.val_count)))
        if self._train_sums.values is not None:
            loss, _, count = self._train_sums.over_processes(self)
            place = list(self.probes).index(name) * len(self.Cs) + self.Cs.index(C)
            self.log("train_loss", float(loss[place] / count[place]))

    @property
    def figures(self) -> dict[str, list[dict[str, float]]]:
        """Of each probe, one row a value of C: `C`, `val_top1`, `val_nll`, from the last pass over val."""
        n = int(self.val_count)
        if n == 0:
            return {}
        rows = zip(self.probes, self.val_right.tolist(), self.val_nll.tolist(), strict=True)
        return {
            name: [
                {"C": C, "val_top1": right / n, "val_nll": nll}
                for C, right, nll in zip(self.Cs, rights, nlls, strict=True)
            ]
            for name, rights, nlls in rows
        }

    def best_row(self, probe: str) -> dict[str, float]:
        """The row of `figures` with the best top-1; of equal ones the lower loss decides, then the smaller C.

        Raises:
            TransferkitError: Val was never passed over.
        """
        if not self.figures:
            raise TransferkitError("Nothing was validated, so there is no best head: fit with a val loader, or name C.")
        return max(self.figures[probe], key=row_rank)

    @property
    def best(self) -> tuple[str, float]:
        """Name and C of the probe that is best on val."""
        name = best_stage({name: self.best_row(name) for name in self.probes})
        return name, self.best_row(name)["C"]

    def head(self, stage: str, C: float | None = None) -> torch.nn.Linear:
        """A copy of the layer for raw pooled features (N, D), on the CPU.

        Args:
            stage: Name of the probe.
            C: One of `Cs`; by default the best on val.

        Raises:
            TransferkitError: There is no such probe or C, or nothing was validated.
        """
        if stage not in self.probes:
            raise TransferkitError(unknown_name("stage", stage, list(self.probes), "probe"))
        if C is None:
            C = self.Cs[0] if len(self.Cs) == 1 else self.best_row(stage)["C"]
        if C not in self.Cs:
            raise TransferkitError(f"C={C} was not trained: {', '.join(f'{value:g}' for value in self.Cs)}.")
        return self.heads[stage].linear(self.Cs.index(C))

    def model(self, stage: str | None = None, C: float | None = None) -> TransferModel:
        """The network cut after the best (or named) probe's last stage, with its head, in eval mode.

        Raises:
            TransferkitError: As `head`.
        """
        name = self.best[0] if stage is None else stage
        head = self.head(name, C)
        taken = self.probes[name]
        device = next(self.backbone.parameters()).device
        backbone = self.backbone.truncate(taken[-1])
        return TransferModel(backbone, head, self.class_names, taken, self.pool).to(device).eval()

    def configure_optimizers(self) -> dict[str, Any]:
        """The optimizer and its schedule."""
        optimizer = create_optimizer([{"params": list(self.layers.parameters()), "name": "heads"}], self._optimizer)
        return self.with_schedule(optimizer, self._schedule)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store what is being done."""
        checkpoint["probes"] = self._recipe()

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Refuse to go on with something else.

        Raises:
            TransferkitError: The checkpoint is of other probes.
        """
        different = differences(checkpoint.get("probes", {}), self._recipe())
        if different:
            raise TransferkitError(f"The checkpoint is of other probes: {'; '.join(different)}.")

    def _recipe(self) -> dict[str, Any]:
        return {"names": list(self.probes), "pool": self.pool, "Cs": list(self.Cs), "classes": len(self.class_names)}
