"""Classes that are the same, and classes with few images."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from tests.quality.conftest import SELECTION, Digits
from transferkit.metrics import wilson_interval
from transferkit.quality.class_problems import class_size_problems, confused_problems, preferred
from transferkit.quality.held_out_probe import predict_held_out
from transferkit.quality.problems import AllImages


def test_one_class_under_two_names_is_found_and_no_other_pair(digits: Digits):
    rng = np.random.default_rng(0)
    labels = AllImages(digits.data).labels.copy()
    labels[(labels == 3) & (rng.random(len(labels)) < 0.5)] = 10
    images = digits.relabelled(labels, [*digits.data.class_names, "three"])
    held_out = predict_held_out(images, digits.features, np.arange(len(images)), SELECTION, 0)
    (problem,) = confused_problems(images, held_out, 0.2)
    assert (problem.label, problem.suggested, problem.row) == ("3", "three", None)
    assert problem.score == pytest.approx(0.5, abs=0.12)
    n = int(np.isin(labels[: images.fit], [3, 10]).sum())
    low, high = wilson_interval(round(problem.score * n), n)
    assert f"{100 * low:.1f} to {100 * high:.1f} %; chance is within it" in problem.note


def test_of_two_classes_it_is_the_confusion_matrix():
    rng = np.random.default_rng(0)
    labels, probabilities = rng.integers(0, 2, 200), rng.dirichlet([1, 1], 200).astype(np.float32)
    matrix = confusion_matrix(labels, probabilities.argmax(axis=1))
    assert preferred(labels, probabilities).tolist() == [[0, matrix[0, 1]], [matrix[1, 0], 0]]


def test_small_classes(digits):
    labels = AllImages(digits.data).labels
    rows = np.flatnonzero(labels[: len(digits.data.train)] == 7)
    few = labels.copy()
    few[np.flatnonzero(labels == 7)] = 6
    few[rows[:4]] = 7
    images = digits.relabelled(few)
    found = class_size_problems(images, 5)
    assert [(problem.kind, problem.label, problem.score) for problem in found] == [
        ("few_images", "7", 4.0),
        ("imbalance", "7", 4.0),
    ]
    assert class_size_problems(AllImages(digits.data), 5) == []
