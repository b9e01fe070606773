"""Probabilities of every image by a linear probe that was fitted without it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import softmax

from transferkit.advisor.measure import CS
from transferkit.arrays import Features, Probabilities
from transferkit.folds import Chooser, find_chooser
from transferkit.probes.chosen import choose, fit_choice, held_out, make_candidate
from transferkit.probes.fold_scores import score_classifiers
from transferkit.probes.logistic.basis import Stack
from transferkit.probes.scaling import ShrunkScaler
from transferkit.quality.problems import AllImages, Ints
from transferkit.strategies.fitted import OutOfFold


@dataclass(frozen=True)
class HeldOut:
    """Probabilities by logistic regression on features of the top stage.

    Attributes:
        probabilities: (N, K) of all images: those of train and val out of fold, those of test by the probe that was
            fitted on train and val.
        predicted: (N,) whether the image has a prediction; not where its class has no other image to fit.
        C: Chosen over the folds of train and val.
        top1: Accuracy out of fold.
        chooser: The folds.
    """

    probabilities: Probabilities
    predicted: np.ndarray[Any, np.dtype[np.bool_]]
    C: float
    top1: float
    chooser: Chooser


def predict_held_out(
    images: AllImages, splits: Sequence[Features], groups: Ints, selection: Mapping[str, Any], seed: int
) -> HeldOut:
    """Fit the probe on folds of train and val, and on all of them for test.

    Args:
        images: All.
        splits: Features (n, D) of train, val and test.
        groups: (N,) images with the same number, such as copies, are held out together.
        selection: The group `selection` of the configuration: `folds` and `repeats`.
        seed: Of the folds.
    """
    sets, labels = images.sets, images.labels[: images.fit]
    by_folds = {**selection, "name": "cv"}
    chooser = find_chooser(by_folds, sets[0].labels, sets[1].labels, groups[: images.fit], seed)
    X = Stack([splits[0], splits[1]])
    scores = score_classifiers(X, labels, chooser.folds, ShrunkScaler(), {"logistic": CS})
    choice = choose([make_candidate("top", X, scores, "cv")], "cv")
    found = OutOfFold.of(*held_out(choice, labels, chooser), labels)
    weights, bias = fit_choice(choice, labels)
    test = softmax(np.asarray(splits[2]) @ weights.T + bias, axis=1).astype(np.float32)
    predicted = np.ones(len(images), dtype=bool)
    predicted[: images.fit] = np.isin(np.arange(images.fit), found.images)
    return HeldOut(
        np.concatenate([found.rows(0, images.fit), test]),
        predicted,
        choice.score.C,
        float(found.metrics()["top1"]),
        chooser,
    )
