"""Planted label errors, against what was planted and against cleanlab called directly."""

from dataclasses import replace

import numpy as np
import pytest
from cleanlab.filter import find_label_issues

from tests.quality.conftest import SELECTION, Digits
from transferkit.errors import TransferkitError
from transferkit.quality import label_errors
from transferkit.quality.held_out_probe import HeldOut, predict_held_out
from transferkit.quality.label_errors import label_problems, look_for_label_errors, suspect_labels
from transferkit.quality.problems import AllImages


@pytest.fixture(scope="module")
def planted(digits: Digits) -> tuple[AllImages, np.ndarray, HeldOut]:
    """The digits with 5 % wrong labels in every split; which; and the probabilities."""
    rng = np.random.default_rng(0)
    images = AllImages(digits.data)
    wrong = rng.random(len(images)) < 0.05
    labels = images.labels.copy()
    labels[wrong] = (labels[wrong] + rng.integers(1, 10, wrong.sum())) % 10
    images = digits.relabelled(labels)
    return images, wrong, predict_held_out(images, digits.features, np.arange(len(images)), SELECTION, 0)


def test_planted_label_errors_are_found_and_few_others(planted):
    images, wrong, held_out = planted
    found = np.zeros(len(images), dtype=bool)
    found[[problem.row for problem in label_problems(images, held_out) if problem.row is not None]] = True
    assert (found & wrong).sum() / wrong.sum() > 0.6  # 0.70; of all digits 0.84 with precision 0.94 (docs/check.md)
    assert (found & wrong).sum() / found.sum() > 0.9


def test_suggestions_are_the_right_labels(planted, digits):
    images, wrong, held_out = planted
    before = AllImages(digits.data)
    problems = [(problem.row or 0, problem.suggested) for problem in label_problems(images, held_out)]
    right = [suggested == before.label(row) for row, suggested in problems if wrong[row]]
    assert np.mean(right) > 0.95
    scores = [problem.score for problem in label_problems(images, held_out)]
    assert scores == sorted(scores)


def test_it_is_cleanlabs_decision_on_the_same_probabilities(planted):
    images, _, held_out = planted
    fit = slice(0, images.fit)
    labels, probabilities = images.labels[fit], held_out.probabilities[fit]
    direct = find_label_issues(labels, probabilities.astype(np.float64), filter_by="prune_by_noise_rate")
    assert set(suspect_labels(labels, probabilities).tolist()) == set(np.flatnonzero(direct).tolist())


def test_one_class_alone_has_no_suspicious_labels():
    assert len(suspect_labels(np.zeros(4, dtype=np.int64), np.full((4, 2), 0.5, dtype=np.float32))) == 0


def test_without_cleanlab_one_message_says_what_to_install(monkeypatch):
    monkeypatch.setattr(label_errors, "find_spec", lambda name: None)
    with pytest.raises(TransferkitError, match=r"pip install 'transferkit\[check\]'; task.labels=auto"):
        look_for_label_errors(True)
    assert not look_for_label_errors("auto")
    assert not look_for_label_errors(False)


def test_with_cleanlab_label_errors_are_looked_for_unless_switched_off():
    assert look_for_label_errors("auto")
    assert look_for_label_errors(True)
    assert not look_for_label_errors(False)


def test_copies_are_held_out_together(digits):
    """A wrong label is doubted less if a copy with the same label is among the fitted images."""
    rows = np.arange(20)
    labels = AllImages(digits.data).labels.copy()
    labels[rows] = (labels[rows] + 1) % 10
    sets = digits.relabelled(labels).sets
    train = sets[0].subset(np.arange(200))
    images = AllImages(replace(digits.data, train=train.joined(train.subset(rows)), val=sets[1].subset(rows)))
    features = [digits.features[0][[*range(200), *rows]], digits.features[1][rows], digits.features[2]]
    groups = np.arange(len(images))
    groups[200 + rows] = rows
    together, apart = (
        predict_held_out(images, features, numbers, SELECTION, 0).probabilities[rows, images.labels[rows]].mean()
        for numbers in (groups, np.arange(len(images)))
    )
    assert together < apart - 0.1
