"""Exact probes of targets that are no classes: of one stage, the best of several, or all side by side."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from transferkit.arrays import Doubles, Features
from transferkit.backbones.backbone import Backbone
from transferkit.folds import Chooser, Fold, cross_validates, make_folds
from transferkit.models.transfer_model import TransferModel
from transferkit.probes.column_probes import ColumnPath, ColumnSolver, column_path, fit_columns, held_out_logits
from transferkit.probes.linear import value_grid
from transferkit.probes.logistic.basis import Stack
from transferkit.probes.scaling import ShrunkScaler, scalers_to_try
from transferkit.strategies.context import Context
from transferkit.strategies.fitted import Fitted, OutOfFold
from transferkit.strategies.frozen_features import (
    chosen_pool,
    extract_train_val,
    find_choosing_folds,
    probe_stages,
    refuse_augment,
)
from transferkit.strategies.head_start import HEAD_CS, UNCHOSEN, HeadStart, l1_norm
from transferkit.strategies.linear_probe import linear_head
from transferkit.targets.target import Target

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tried:
    """The probes of all columns on the features of some stages.

    Attributes:
        stages: Their names.
        X: Features (N, D) of train and val.
        solver: How the columns are fitted.
        path: The losses over the folds that choose.
    """

    stages: Sequence[str]
    X: Stack
    solver: ColumnSolver
    path: ColumnPath

    @property
    def name(self) -> str:
        """Of the stages: "stage3", "stage3+stage5"."""
        return "+".join(self.stages)


def fit_column_probes(context: Context) -> Fitted:
    """Fit the probes of every column of the target on every requested stage, or on all; select by the held-out loss.

    Each column has a C of its own; the stage is the one with the lowest mean loss, the deeper of equal ones. Only the
    selected probes are refitted on train and val together.

    Raises:
        TransferkitError: A setting cannot be used.
    """
    backbone, data, strategy, target = context.backbone, context.data, context.strategy, context.data.target
    refuse_augment(context.settings, "use augment=none, or a strategy with phases, which trains on augmented images")
    stages, pool = probe_stages(backbone, strategy), chosen_pool(backbone, strategy)
    choices = [stages] if strategy.get("combine") == "concat" else [[stage] for stage in stages]
    splits, labels = extract_train_val(context, stages, pool), data.fit_labels()
    with context.timer.step("fit"):
        chooser, Y = find_choosing_folds(context), target.encode(labels)
        tried = [min(_try(context, taken, splits, Y, chooser), key=lambda found: found.path.loss) for taken in choices]
        best = min(reversed(tried), key=lambda found: found.path.loss)
        judged = {found.name: _held_out(found, Y, chooser, target) for found in tried}
        _tell(judged, best, chooser, target)
        head = linear_head(fit_columns(best.X, Y, best.solver, best.path.best), target.width)
    images = np.concatenate([test for _, test in chooser.folds])
    out_of_fold = OutOfFold.of(judged[best.name][1], images, labels, target)
    return Fitted(
        model=TransferModel(backbone.truncate(best.stages[-1]), head, target, best.stages, pool).eval(),
        val=out_of_fold.rows(len(data.train), len(labels)),
        trainable_parameters=sum(p.numel() for p in head.parameters()),
        stages={name: _figures(found, outputs, labels[images], target) for name, (found, outputs) in judged.items()},
        sweep={name: found.path.rows() for name, (found, _) in judged.items()},
        details={
            "stage": best.name,
            "solver": "exact",
            "pool": pool,
            "classifier": target.solver,
            "selection": chooser.facts(),
        },
        out_of_fold=out_of_fold if chooser.by == "cv" else None,
    )


def probed_columns(context: Context, backbone: Backbone) -> HeadStart:
    """The initial head of finetuning, fitted on train; each C is selected on val, or folds of train, by the loss.

    Args:
        context: Its settings say which (`selection`).
        backbone: The network at the start.
    """
    data, stage, target = context.data, backbone.top, context.data.target
    train, val = (split[stage] for split in extract_train_val(replace(context, backbone=backbone), [stage], "auto"))
    solver, Y = ColumnSolver(target.solver, ShrunkScaler()), target.encode(data.fit_labels())
    with context.timer.step("fit"):
        whole, rows = Stack([train, val]), np.arange(len(train))
        folds: list[Fold] = [(rows, np.arange(len(train), len(Y)))]
        if cross_validates(context.settings["selection"], len(data.val)):
            groups = data.fit_contents()[: len(train)]
            folds = make_folds(target.strata(data.train.labels), groups, seed=context.seed)
        path = column_path(whole, Y, folds, solver, np.array(HEAD_CS)) if folds else None
        Cs = np.full(target.width, UNCHOSEN) if path is None else path.best
        head = linear_head(fit_columns(whole.rows(rows), Y[rows], solver, Cs), target.width)
    seen = {} if path is None else {"val_loss": path.loss}
    figures = {"C": _one_or_all(Cs), **seen, "features": int(train.shape[1])}
    log.info("Head: probe of %s, held-out loss %.3f.", stage, seen.get("val_loss", np.nan))
    return HeadStart(head, {stage: figures}, {stage: [] if path is None else path.rows()}, l1_norm(train))


def _try(
    context: Context, taken: Sequence[str], splits: Sequence[Mapping[str, Features]], Y: Doubles, chooser: Chooser
) -> Iterator[Tried]:
    """Evaluate every C on the features of these stages, side by side, for each way to scale them."""
    settings = context.strategy["probe"]
    X = Stack([[split[stage] for stage in taken] for split in splits])
    widths = [splits[0][stage].shape[1] for stage in taken]
    for scaler in scalers_to_try(widths, settings["balance"]):
        solver = ColumnSolver(context.data.target.solver, scaler, settings.get("class_weights") == "balanced")
        yield Tried(taken, X, solver, column_path(X, Y, chooser.folds, solver, value_grid(settings["Cs"])))


def _held_out(found: Tried, Y: Doubles, chooser: Chooser, target: Target) -> tuple[Tried, Any]:
    """The outputs (M, K) of the evaluated rows of all folds by probes that were fitted without them."""
    logits = held_out_logits(found.X, Y, chooser.folds, found.solver, found.path.best)
    return found, target.outputs(torch.from_numpy(logits)).numpy().astype(np.float32)


def _figures(found: Tried, outputs: Any, labels: Any, target: Target) -> dict[str, Any]:
    """The entry of the stages in metrics.json."""
    metrics = target.metrics(outputs, labels)
    return {
        "C": _one_or_all(found.path.best),
        "val_loss": metrics[target.loss_name],
        f"val_{target.main}": metrics[target.main],
        "features": found.X.shape[1],
    }


def _one_or_all(Cs: Doubles) -> float | list[float]:
    return float(Cs[0]) if len(Cs) == 1 else Cs.tolist()


def _tell(judged: Mapping[str, tuple[Tried, Any]], best: Tried, chooser: Chooser, target: Target) -> None:
    """Log the results of every choice of stages, and what was selected on what."""
    for name, (found, _) in judged.items():
        Cs = found.path.best
        log.info(
            "%s on %s: C from %.3g to %.3g, loss %.3f (%s).",
            *(target.solver.capitalize(), name, Cs.min(), Cs.max(), found.path.loss, chooser.words()),
        )
    log.info("Selected by %s: %s on %s.", chooser.words(), target.solver, best.name)
