"""Folds: stratified as scikit-learn's, every class fitted in every fold, identical images together, few images too."""

from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold

from transferkit.folds import cross_validates, find_chooser, make_folds

AUTO: dict[str, Any] = {"name": "auto", "min_val": 200, "folds": 5, "repeats": "auto"}


def test_they_are_scikit_learns() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(4), (9, 10, 11, 30)))
    expected = StratifiedKFold(5, shuffle=True, random_state=3).split(labels, labels)
    for (train, test), (their_train, their_test) in zip(make_folds(labels, seed=3), expected, strict=True):
        assert (train == their_train).all()
        assert (test == their_test).all()


@pytest.mark.parametrize("sizes", [(5, 5), (1, 5), (2, 2, 2), (1, 1, 2), (3, 40)], ids=str)
@pytest.mark.parametrize("copies", [1, 2])
def test_every_class_is_fitted_in_every_fold(sizes: tuple[int, ...], copies: int) -> None:
    labels = np.tile(np.repeat(np.arange(len(sizes)), sizes), copies)
    groups = np.tile(np.arange(sum(sizes)), copies)
    folds = make_folds(labels, groups, repeats=3)
    assert len(folds) <= 15
    for train, test in folds:
        assert len(test)
        assert sorted([*train, *test]) == list(range(len(labels)))
        assert set(labels[train]) == set(labels)
        assert not set(groups[train]) & set(groups[test])
    evaluated = np.bincount(np.concatenate([test for _, test in folds]), minlength=len(labels))
    several = np.array(sizes)[labels] > 1
    assert (evaluated == np.where(several, 3, 0)).all()


def test_a_class_with_one_image_in_several_copies_is_not_evaluated() -> None:
    labels, groups = np.array([0, 0, 0, 0, 1, 1]), np.array([0, 1, 2, 3, 4, 4])
    assert not any(label == 1 for _, test in make_folds(labels, groups) for label in labels[test])


def test_one_image_per_class_cannot_be_cross_validated() -> None:
    assert make_folds(np.arange(7)) == []
    ((train, test),) = find_chooser(AUTO, np.arange(3), np.arange(0)).folds
    assert (train.tolist(), test.tolist()) == ([0, 1, 2], [])


def test_the_seed_decides() -> None:
    labels = np.repeat(np.arange(3), 10)
    first, again, other = (np.concatenate([t for _, t in make_folds(labels, seed=seed)]) for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize(
    ("name", "val", "folds"),
    [("auto", 200, False), ("auto", 199, True), ("last", 10, True), ("val", 10, False), ("cv", 1000, True)],
)
def test_what_chooses(name: str, val: int, folds: bool) -> None:
    assert cross_validates({**AUTO, "name": name}, val) is folds
    train, labels = np.zeros(10, np.int64), np.arange(val) % 2
    chosen = find_chooser({**AUTO, "name": name}, np.concatenate([train, train + 1]), labels)
    assert chosen.by == ("cv" if folds else "val")
    if not folds:
        ((rows, test),) = chosen.folds
        assert rows.tolist() == list(range(20))
        assert test.tolist() == list(range(20, 20 + val))
    else:  # about 600 predictions
        assert sum(len(test) for _, test in chosen.folds) >= 600 or len(chosen.folds) == 15
        facts = {"by": "cv", "images": 20 + val, "folds": 5, "repeats": len(chosen.folds) // 5}
        assert chosen.facts() == facts
