"""Distances and thresholds against plain numpy and scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from transferkit.models.known_images import KnownImages, held_out_quantile
from transferkit.strategies.held_out import held_out_distances, spread_over_classes


def test_the_distance_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    rows, queries = rng.normal(size=(50, 8)).astype(np.float32), rng.normal(size=(20, 8)).astype(np.float32)
    expected = NearestNeighbors(n_neighbors=1, metric="cosine").fit(rows).kneighbors(queries)[0][:, 0]
    found = KnownImages(torch.from_numpy(rows), 0.5)(torch.from_numpy(queries))
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("n", [1, 5, 19, 20, 200])
def test_the_threshold_is_exceeded_as_rarely_as_asked(n: int) -> None:
    """A new value of the same kind exceeds it with 5 % at most, if there are 19 values at least."""
    rng = np.random.default_rng(0)
    draws = rng.random((4000, n + 1))
    thresholds = np.array([held_out_quantile(row[:n].tolist(), 0.95) for row in draws[:400]])
    assert held_out_quantile(list(draws[0, :n]), 0.95) == sorted(draws[0, :n])[min(int(np.ceil((n + 1) * 0.95)), n) - 1]
    beyond = (draws[:, n][:, None] > thresholds[:20]).mean() if n >= 200 else None
    assert beyond is None or beyond == pytest.approx(0.05, abs=0.02)


def test_distances_of_held_out_images_are_those_of_a_plain_loop() -> None:
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1, 2], 10)
    rows = (rng.normal(size=(30, 6)) + 4 * np.eye(6)[labels]).astype(np.float32)
    groups = np.arange(30)
    groups[1] = groups[0]  # the same image twice: it must not find itself
    rows[1] = rows[0]
    found = held_out_distances(rows, labels, groups)
    for i, row in enumerate(rows):
        others = torch.from_numpy(rows[groups != groups[i]])
        expected = KnownImages(others, 0.0)(torch.from_numpy(row[None]))
        assert found[i] == pytest.approx(float(expected), abs=1e-5)
    assert len(held_out_distances(rows[:1], labels[:1], groups[:1])) == 0
    alone = np.arange(30)
    assert len(held_out_distances(rows, alone, alone)) == 0  # classes of one image tell nothing


def test_rows_are_spread_over_the_classes() -> None:
    labels = np.array([0] * 500 + [1] * 20 + [2] * 3)
    taken = spread_over_classes(labels, seed=0, most=50)
    assert np.bincount(labels[taken]).tolist() == [27, 20, 3]
    assert (np.diff(taken) > 0).all()
    assert len(spread_over_classes(labels, seed=0, most=9999)) == 523
