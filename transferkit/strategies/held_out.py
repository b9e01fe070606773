"""Parts of a fitted model that come from held-out images: temperature, distance of known images, conformal scores."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from transferkit.arrays import Features, Labels
from transferkit.data.imagedata import ImageData
from transferkit.data.imageset import ImageSet
from transferkit.folds import Ints
from transferkit.models.conformal import true_class_scores
from transferkit.models.known_images import MOST_ROWS, KnownImages, held_out_quantile
from transferkit.probes.neighbors import prepare_rows
from transferkit.strategies.calibrate import calibrate, predictions
from transferkit.strategies.context import Context
from transferkit.strategies.fitted import Fitted

log = logging.getLogger(__name__)


def add_held_out_parts(context: Context, fitted: Fitted) -> Fitted:
    """Return the model with what the node `calibrate` asks for; its predictions stay as they are.

    Args:
        context: Of the fit.
        fitted: Its model is changed in place.
    """
    wanted, labels = context.settings["calibrate"], context.data.val.labels
    if fitted.model.target.soft_max:
        if wanted["temperature"]:
            fitted = calibrate(fitted, labels)
        held_out = predictions(fitted, labels)
        fitted.model.held_out_scores = true_class_scores(held_out.probabilities, held_out.labels)
    if wanted["known"] is None:
        return fitted
    with context.timer.step("calibrate"):
        known, facts = find_known(context, fitted, wanted["known"])
    fitted.model.known = known
    return replace(fitted, details={**fitted.details, "known": facts}) if known else fitted


def find_known(context: Context, fitted: Fitted, share: float) -> tuple[KnownImages | None, dict[str, Any]]:
    """Return the distance at which an image is known, and its entry of metrics.json; None if nothing can be held out.

    The threshold is such that this share of images that were not fitted is known: of train and val, each image compared
    with the others; of val where training changed the features and val was held out. Where folds chose how long a stage
    is trained, the features of all images are fitted, so that the threshold is somewhat small.

    Args:
        context: Of the fit.
        fitted: Its result.
        share: Of held-out images that are to be known.
    """
    data, model = context.data, fitted.model
    by_val = fitted.out_of_fold is None and not model.backbone.as_loaded(model.stages[-1])
    if by_val:
        rows = _features(context, fitted, compared_images(data, by_val, context.seed))
        others = _features(context, fitted, _spread(data, data.val, context.seed))
        distances = KnownImages(torch.from_numpy(rows), 0.0)(torch.from_numpy(others)).numpy()
    else:
        whole, labels = data.train.joined(data.val), _classes(data, data.fit_labels())
        taken = spread_over_classes(labels, context.seed)
        rows = _features(context, fitted, whole.subset(taken))
        distances = held_out_distances(rows, labels[taken], data.fit_contents()[taken])
    if not len(distances):
        log.warning("No class has two images, so it cannot be told how far new images of it may be: none is unknown.")
        return None, {}
    known = KnownImages(torch.from_numpy(rows), held_out_quantile(distances.tolist(), share))
    facts: Mapping[str, Any] = {
        "share": share,
        "threshold": known.threshold,
        "stage": model.stages[-1],
        "on": "val" if by_val else "each from the others",
        "images": len(distances),
        "rows": len(rows),
    }
    return known, dict(facts)


def compared_images(data: ImageData, only_train: bool, seed: int) -> ImageSet:
    """Return the images that the rows of `KnownImages` are of: of train, or of train and val."""
    return _spread(data, data.train if only_train else data.train.joined(data.val), seed)


def _spread(data: ImageData, images: ImageSet, seed: int) -> ImageSet:
    """At most so many of the images as are kept, of all classes."""
    return images.subset(spread_over_classes(_classes(data, images.labels), seed))


def _classes(data: ImageData, labels: Labels) -> Labels:
    """The class of each image (N,); the same for all where images have labels or values."""
    return labels if data.target.exclusive else np.zeros(len(labels), dtype=np.int64)


def held_out_distances(rows: Features, labels: Labels, groups: Ints) -> Features:
    """Return the distance (M,) of each image from the nearest of the others, of classes with several images.

    Args:
        rows: Features (N, D).
        labels: (N,).
        groups: (N,) images of the same content have the same number, and are not compared.
    """
    unit = prepare_rows(torch.from_numpy(rows), "cosine").numpy()
    similar = unit @ unit.T
    apart = groups[:, None] != groups
    several = (apart & (labels[:, None] == labels)).any(axis=1)
    return np.asarray(1 - np.where(apart, similar, -1)[several].max(axis=1, initial=-1), dtype=np.float32)


def spread_over_classes(labels: Labels, seed: int, most: int = MOST_ROWS) -> Ints:
    """Return at most so many rows, ascending, drawn at random with about equally many of every class."""
    order = np.random.default_rng(seed).permutation(len(labels))
    place = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        mine = order[labels[order] == label]
        place[mine] = np.arange(len(mine))
    return np.sort(order[np.argsort(place[order], kind="stable")][:most])


def _features(context: Context, fitted: Fitted, images: ImageSet) -> Features:
    """The features (N, D) of the last stage that the model takes, in memory."""
    model = fitted.model
    stage = model.stages[-1]
    return np.array(context.extract(model.backbone, images, [stage], model.pool)[stage])
