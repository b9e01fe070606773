"""Finetuning on few images: folds of train and val say how far the plan is carried out, then all of them are fitted."""

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from transferkit.arrays import Labels, Probabilities
from transferkit.data.imagedata import ImageData
from transferkit.folds import Fold, cross_validates, make_folds
from transferkit.metrics import compute_metrics
from transferkit.strategies.context import Context
from transferkit.strategies.phases import Phases
from transferkit.strategies.stops import Stop, all_stops, at_temperature, choose_stop, choose_temperature
from transferkit.training.checkpoint_files import CheckpointFiles, read_checkpoint
from transferkit.training.plan import Plan

log = logging.getLogger(__name__)

Fit = Callable[[Context, Stop], Phases]
"""Carries out the plan of a context up to a stop."""


@dataclass(frozen=True)
class OutOfFold:
    """What the folds found.

    Attributes:
        stop: How far the plan is to be carried out.
        index: Of this stop in `figures`.
        val: Probabilities (N_val, K) of val at this stop, from the folds in which it was not fitted.
        figures: By stop, top-1 and loss over all images that were held out.
        count: Number of these images.
        temperature: By which the logits are divided; 1 where nothing is trained.
    """

    stop: Stop
    index: int
    val: Probabilities
    figures: Sequence[dict[str, Any]]
    count: int
    temperature: float


def finetune_folds(context: Context) -> list[Fold]:
    """The folds, as rows of train and val together; none where val is large enough to choose, or nothing is chosen."""
    selection, data = context.settings["selection"], context.data
    if selection["name"] == "last" or not cross_validates(selection, len(data.val)):
        return []
    labels = np.concatenate([data.train.labels, data.val.labels])
    return make_folds(labels, data.fit_contents(), seed=context.seed, splits=selection["finetune_folds"])


def fit_folds(context: Context, plan: Plan, folds: Sequence[Fold], fit: Fit) -> OutOfFold:
    """Carry out the plan once in each fold, and choose where to stop by the images held out.

    A fold that is finished is kept in the run directory, and not repeated when the run is resumed.

    Args:
        context: Of the whole run.
        plan: Its plan.
        folds: Rows of train and val together.
        fit: Fits the plan to the context of a fold.
    """
    whole, stops = whole_data(context.data), all_stops(plan)
    labels = whole.train.labels
    course = np.zeros((len(stops), len(labels), len(whole.class_names)), dtype=np.float32)
    held_out = np.zeros(len(labels), dtype=bool)
    for number, (rows, held) in enumerate(folds):
        log.info("Fold %d of %d: %d images fitted, %d held out.", number + 1, len(folds), len(rows), len(held))
        course[:, held] = _fold_course(context, whole, (rows, held), number, fit, stops[-1])
        held_out[held] = True
    chosen = choose_stop(list(course[:, held_out]), labels[held_out])
    figures = [compute_metrics(found, labels[held_out]) for found in course[:, held_out]]
    temperature = choose_temperature(course[chosen][held_out], labels[held_out]) if stops[chosen].phases else 1.0
    val = _val_rows(at_temperature(course[chosen], temperature), held_out, len(context.data.train))
    return OutOfFold(stops[chosen], chosen, val, figures, int(held_out.sum()), temperature)


def whole_data(data: ImageData) -> ImageData:
    """The data with train and val together as train; val stays."""
    return replace(data, train=data.train.joined(data.val))


def by_folds(context: Context) -> Context:
    """The context whose val chooses nothing, whatever its size."""
    selection = {**context.settings["selection"], "name": "cv"}
    return replace(context, settings={**context.settings, "selection": selection})


def _fold_course(context: Context, whole: ImageData, fold: Fold, number: int, fit: Fit, end: Stop) -> Probabilities:
    """Probabilities (S, N, K) at every stop of the images held out."""
    folder = context.run_dir / "folds" / str(number + 1)
    files = CheckpointFiles(folder)
    if "course" not in files.newest():
        rows, held = fold
        data = replace(whole, train=whole.train.subset(rows), val=whole.train.subset(held))
        phases = fit(replace(by_folds(context), data=data, run_dir=folder), end)
        files.write({"course": {"course": torch.from_numpy(np.stack(phases.course))}})
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # the weights are not needed any more
    found: Probabilities = read_checkpoint(files.newest()["course"])["course"].numpy().copy()
    return found


def _val_rows(chosen: Probabilities, held_out: Labels, train: int) -> Probabilities:
    """The rows of val; equal probabilities for an image that no fold held out, the only one of its class."""
    val = chosen[train:].copy()
    val[~held_out[train:]] = 1 / chosen.shape[1]
    return val
