"""Noise images among digits, and the distances against a plain loop."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tests.quality.conftest import Digits, features_of
from transferkit.data.imageset import ImageSet
from transferkit.quality.outliers import measure_distances, outlier_problems
from transferkit.quality.problems import AllImages


def with_noise(digits: Digits, where: int) -> tuple[AllImages, list[np.ndarray], np.ndarray]:
    """The digits with 6 images of noise in a split; features; which images are noise."""
    rng = np.random.default_rng(0)
    noise = ImageSet.from_arrays(rng.integers(0, 256, (6, 8, 8), dtype=np.uint8), rng.integers(0, 10, 6))
    name = AllImages.NAMES[where]
    changed: dict[str, Any] = {name: digits.data.splits[name].joined(noise)}
    data = replace(digits.data, **changed)
    features = list(digits.features)
    features[where] = np.concatenate([features[where], features_of(noise)])
    images = AllImages(data)
    end = sum(images.sizes[: where + 1])
    planted = np.isin(np.arange(len(images)), np.arange(end - 6, end))
    return images, features, planted


@pytest.mark.parametrize("where", [0, 2], ids=["train", "test"])
def test_noise_is_farther_than_digits(digits, where):
    images, features, planted = with_noise(digits, where)
    distances = measure_distances(images, features, 10, 3.5)
    assert roc_auc_score(planted, distances.scores) > 0.98
    found = [problem.row for problem in outlier_problems(images, distances, 3.5) if problem.row is not None]
    assert planted[found].sum() >= 4
    assert (~planted[found]).sum() <= 0.01 * len(images)
    assert [distances.scores[row] for row in found] == sorted((distances.scores[row] for row in found), reverse=True)


def test_distances_and_scores_are_those_of_a_plain_loop(digits):
    images = AllImages(digits.data)
    distances = measure_distances(images, digits.features, 3, 3.5)
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in map(np.float64, digits.features)]
    fit = np.concatenate(unit[:2])
    expected = []
    for row, feature in enumerate(np.concatenate(unit)):
        others = np.delete(fit, row, axis=0) if row < len(fit) else fit
        expected.append(np.sort(1 - others @ feature)[2])
    np.testing.assert_allclose(distances.values, expected, atol=1e-5)
    known = np.array(expected[: len(fit)])
    mad = np.median(np.abs(known - np.median(known)))
    np.testing.assert_allclose(distances.scores, 0.6745 * (expected - np.median(known)) / mad, atol=1e-2)


def test_images_that_are_all_the_same_are_no_outliers(digits):
    images = AllImages(digits.data)
    same = [np.ones_like(rows) for rows in digits.features]
    assert outlier_problems(images, measure_distances(images, same, 10, 3.5), 3.5) == []
