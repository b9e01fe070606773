"""Finetuning on few images: folds of train and val say how far the plan is carried out, then all of them are fitted."""

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from transferkit.arrays import Labels, Probabilities
from transferkit.data.imagedata import ImageData
from transferkit.folds import Fold, cross_validates, make_folds
from transferkit.metrics import at_temperature
from transferkit.strategies.context import Context
from transferkit.strategies.fitted import OutOfFold
from transferkit.strategies.phases import Phases
from transferkit.strategies.stops import Stop, all_stops, choose_stop, choose_temperature
from transferkit.strategies.wise_ft import choose_share, mixed_stops, share_facts
from transferkit.targets.target import Target
from transferkit.training.checkpoint_files import CheckpointFiles, read_checkpoint
from transferkit.training.plan import Plan

log = logging.getLogger(__name__)

Fit = Callable[[Context, Stop], Phases]
"""Carries out the plan of a context up to a stop; the course ends with the means of `wise_ft.mixed_stops`."""


@dataclass(frozen=True)
class FoldChoice:
    """The choice of the folds.

    Attributes:
        stop: How far the plan is to be carried out.
        index: Of this stop in `figures`.
        temperature: By which the logits are divided; 1 without calibration.
        predictions: At this stop and temperature.
        figures: By stop, the metrics over all images that were held out.
        wise_ft: What was found of the mean with the start (`strategies.wise_ft`); empty where there is none.
    """

    stop: Stop
    index: int
    temperature: float
    predictions: OutOfFold
    figures: Sequence[dict[str, Any]]
    wise_ft: Mapping[str, Any] = field(default_factory=dict)


def finetune_folds(context: Context) -> list[Fold]:
    """The folds, as rows of train and val together; none where val is large enough to choose, or nothing is chosen."""
    return [] if context.settings["selection"]["name"] == "last" else training_folds(context)


def training_folds(context: Context) -> list[Fold]:
    """The folds of trainings, which are fewer than those of exact probes; none where val is large enough to choose."""
    selection, data = context.settings["selection"], context.data
    if not cross_validates(selection, len(data.val)):
        return []
    return make_folds(data.fit_strata(), data.fit_contents(), seed=context.seed, splits=selection["finetune_folds"])


def fit_folds(context: Context, plan: Plan, folds: Sequence[Fold], fit: Fit) -> FoldChoice:
    """Carry out the plan once in each fold, and choose where to stop by the images held out.

    A fold that is finished is kept in the run directory, and not repeated when the run is resumed.

    Args:
        context: Of the whole run.
        plan: Its plan.
        folds: Rows of train and val together.
        fit: Fits the plan to the context of a fold.
    """
    whole, ends, mixed = whole_data(context.data), all_stops(plan), mixed_stops(plan)
    stops, target = [*ends, *mixed], context.data.target
    labels = whole.train.labels
    course = np.zeros((len(stops), len(labels), len(whole.class_names)), dtype=np.float32)
    held_out = np.zeros(len(labels), dtype=bool)
    for number, (rows, held) in enumerate(folds):
        log.info("Fold %d of %d: %d images fitted, %d held out.", number + 1, len(folds), len(rows), len(held))
        course[:, held] = _fold_course(context, whole, (rows, held), number, fit, ends[-1])
        held_out[held] = True
    chosen, shares = _choose(course[:, held_out], labels[held_out], mixed, target)
    figures = [target.metrics(found, labels[held_out]) for found in course[:, held_out]]
    found, images = course[chosen][held_out], np.flatnonzero(held_out)
    if not target.soft_max:
        return FoldChoice(stops[chosen], chosen, 1.0, OutOfFold.of(found, images, labels, target), figures)
    wanted = context.settings["calibrate"]["temperature"]
    temperature = choose_temperature(found, labels[held_out]) if wanted else 1.0
    predictions = OutOfFold.of(at_temperature(found, temperature), images, labels)
    return FoldChoice(stops[chosen], chosen, temperature, predictions, figures, shares)


def _choose(
    course: Probabilities, labels: Labels, mixed: Sequence[Stop], target: Target
) -> tuple[int, Mapping[str, Any]]:
    """The index of the chosen stop, and what was found of the mean with the start, among which it is if there is one.

    Args:
        course: Probabilities (S, N, K) at every stop, those of the mean last.
        labels: (N,).
        mixed: The stops of the mean; none for another target than classes.
        target: Says what is right, and the loss.
    """
    if not mixed:
        return choose_stop(list(course), labels, target), {}
    shares = list(course[-len(mixed) :])
    chosen = choose_share(shares, labels)
    return len(course) - len(mixed) + chosen, share_facts(mixed, shares, labels, chosen, "out of fold")


def whole_data(data: ImageData) -> ImageData:
    """The data with train and val together as train; val stays."""
    return replace(data, train=data.train.joined(data.val))


def fold_data(whole: ImageData, fold: Fold) -> ImageData:
    """The data of a fold: its fitted rows as train, those held out as val.

    Args:
        whole: From `whole_data`.
        fold: Rows of it.
    """
    rows, held = fold
    return replace(whole, train=whole.train.subset(rows), val=whole.train.subset(held))


def by_folds(context: Context) -> Context:
    """The context whose val chooses nothing, whatever its size."""
    selection = {**context.settings["selection"], "name": "cv"}
    return replace(context, settings={**context.settings, "selection": selection})


def _fold_course(context: Context, whole: ImageData, fold: Fold, number: int, fit: Fit, end: Stop) -> Probabilities:
    """Probabilities (S, N, K) at every stop of the images held out."""
    folder = context.run_dir / "folds" / str(number + 1)
    files = CheckpointFiles(folder)
    if "course" not in files.newest():
        phases = fit(replace(by_folds(context), data=fold_data(whole, fold), run_dir=folder), end)
        files.write({"course": {"course": torch.from_numpy(np.stack(phases.course))}})
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # the weights are not needed any more
    found: Probabilities = read_checkpoint(files.newest()["course"])["course"].numpy().copy()
    return found
