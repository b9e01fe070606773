from collections import Counter

import numpy as np
import pytest
from sklearn.metrics import classification_report

from transferkit.report.classes import class_rows, confuse, confused_pairs

NAMES = ["ant", "bee", "cat", "dog"]
LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
PREDICTED = np.array([0, 0, 1, 1, 1, 1, 0, 2, 2, 1])


def test_figures_agree_with_scikit_learn():
    reference = classification_report(
        LABELS, PREDICTED, labels=range(3), target_names=NAMES[:3], output_dict=True, zero_division=0
    )
    counts = {"train": np.array([9, 8, 7]), "test": np.bincount(LABELS)}
    rows = class_rows(LABELS, PREDICTED, NAMES[:3], counts)
    for row in rows:
        expected = reference[row.name]
        assert (row.precision, row.recall, row.f1) == pytest.approx(
            (expected["precision"], expected["recall"], expected["f1-score"])
        )
        assert row.counts == {"train": 9 - NAMES.index(row.name), "test": expected["support"]}
    assert [row.f1 for row in rows] == sorted(row.f1 for row in rows)


def test_a_class_without_test_images_comes_last_and_one_never_predicted_first():
    labels, predicted = np.array([0, 0, 0, 1]), np.array([0, 0, 3, 0])
    rows = class_rows(labels, predicted, NAMES, {})
    assert [row.name for row in rows] == ["bee", "ant", "cat", "dog"]
    assert rows[0].f1 == 0
    assert rows[0].recall == 0
    assert np.isnan(rows[0].precision)
    assert np.isnan([rows[2].precision, rows[2].recall, rows[2].f1]).all()
    assert rows[3].precision == 0  # predicted once, wrongly
    assert np.isnan([rows[3].recall, rows[3].f1]).all()


def test_matrix_and_pairs_agree_with_counting():
    confusion = confuse(LABELS, PREDICTED, NAMES)
    counted = Counter(zip(LABELS.tolist(), PREDICTED.tolist(), strict=True))
    for i in range(4):
        for j in range(4):
            assert confusion.counts[i, j] == counted[i, j]
            assert confusion.shares[i, j] == counted[i, j] / max(1, LABELS.tolist().count(i))
    pairs = [(pair.true, pair.predicted, pair.count, pair.share) for pair in confused_pairs(confusion, 10)]
    assert pairs[0] == ("ant", "bee", 2, 0.5)
    assert sorted(pairs[1:]) == [("bee", "ant", 1, 1 / 3), ("cat", "bee", 1, 1 / 3)]
    assert len(confused_pairs(confusion, 1)) == 1
