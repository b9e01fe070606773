"""Nearest neighbours as a head: scikit-learn finds the same ones; ties are decided, and no class has probability 0."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from transferkit.errors import TransferkitError
from transferkit.probes import neighbors
from transferkit.probes.neighbors import NeighborHead, nearest, vote_shares

METRICS = {"l2": "euclidean", "cosine": "cosine"}


def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gallery, its labels, and queries: digits through a random ReLU layer, with twins of some rows."""
    X, y = load_digits(return_X_y=True)
    layer = np.random.default_rng(0).normal(size=(64, 40))
    X = np.maximum(X / 16 @ layer, 0).astype(np.float32)
    return X[:900], y[:900], X[900:1500]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("k", [1, 4, 20])
def test_scikit_learn_finds_the_same_neighbours(metric: str, k: int) -> None:
    gallery, labels, queries = digits()
    head = NeighborHead(torch.from_numpy(gallery), torch.from_numpy(labels), 10, k, metric)
    reference = KNeighborsClassifier(k, metric=METRICS[metric], algorithm="brute").fit(gallery, labels)
    distances, indices = head.search(torch.from_numpy(queries))
    expected, rows = reference.kneighbors(queries)
    np.testing.assert_allclose(distances, expected, atol=1e-3 if metric == "l2" else 1e-5)
    assert (indices.numpy() == rows).mean() > 0.999  # a pair of almost equal distances may change places
    shares = (k * reference.predict_proba(queries) + 1 / 10) / (k + 1)
    probabilities = head(torch.from_numpy(queries)).softmax(dim=1).numpy()
    np.testing.assert_allclose(probabilities, shares, atol=3 * neighbors.TIE_VOTE / (k + 1))
    best = np.sort(shares, axis=1)
    untied = best[:, -1] > best[:, -2] + 1e-9
    agreed = probabilities.argmax(axis=1) == reference.predict(queries)
    assert untied.mean() > 0.9
    assert agreed[untied].all()


def test_equal_distances_go_by_the_order_of_the_gallery() -> None:
    rng = torch.Generator().manual_seed(0)
    rows = torch.randn(50, 300, generator=rng) * 30
    gallery = rows.repeat(4, 1)  # every row has three twins, which matrix products may tell apart
    distances, indices = nearest(rows + 0.1, gallery, 4)
    assert torch.equal(indices, torch.arange(50)[:, None] + 50 * torch.arange(4))
    assert (distances == distances[:, :1]).all()


def test_equal_votes_go_to_the_nearer_neighbours() -> None:
    labels = torch.tensor([[2, 0, 0, 2], [0, 2, 2, 0], [1, 2, 0, 3], [3, 1, 1, 1]])
    assert vote_shares(labels, 4).argmax(dim=1).tolist() == [2, 0, 1, 1]


def test_a_tie_is_seen_in_single_precision_logits_even_with_many_neighbours() -> None:
    labels = torch.tensor([[0] * 50 + [2, 1] * 75])
    logits = vote_shares(labels, 3).log()
    assert logits[0, 2] > logits[0, 1]


@pytest.mark.parametrize(("k", "num_classes"), [(1, 2), (5, 7), (20, 1000)])
def test_probabilities_are_positive_and_sum_to_one(k: int, num_classes: int) -> None:
    labels = torch.randint(0, num_classes, (30, k), generator=torch.Generator().manual_seed(0))
    shares = vote_shares(labels, num_classes)
    assert (shares > 0).all()
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(30))
    torch.testing.assert_close(shares.log().softmax(dim=1), shares)


def test_the_memory_for_a_search_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    gallery, _, queries = map(torch.from_numpy, digits())
    whole = nearest(queries, gallery, 5)
    sizes: list[int] = []
    cdist = torch.cdist

    def counted(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        sizes.append(len(a) * len(b))
        return cdist(a, b)

    monkeypatch.setattr(neighbors, "_ELEMENTS", 5000)
    monkeypatch.setattr(torch, "cdist", counted)
    parts = nearest(queries, gallery, 5)
    assert max(sizes) <= 5000
    assert len(sizes) > len(gallery) * len(queries) / 5000
    assert torch.equal(parts[1], whole[1])


@pytest.mark.parametrize("metric", METRICS)
def test_features_on_disk_are_read_in_parts(metric: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gallery, labels, queries = digits()
    head = NeighborHead(torch.from_numpy(gallery), torch.from_numpy(labels), 10, 5, metric)
    _, whole = head.search(torch.from_numpy(queries))
    for name, rows in (("gallery", gallery), ("queries", queries)):
        np.save(tmp_path / name, rows)
    on_disk = {name: np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("queries", "gallery")}
    monkeypatch.setattr(neighbors, "_ELEMENTS", 5000)
    assert (nearest(on_disk["queries"], on_disk["gallery"], 5, metric)[1] == whole).float().mean() > 0.999


def test_no_queries() -> None:
    gallery, labels, _ = map(torch.from_numpy, digits())
    assert NeighborHead(gallery, labels, 10, 3)(torch.empty(0, 40)).shape == (0, 10)


def test_what_cannot_be_is_refused() -> None:
    gallery, labels, _ = map(torch.from_numpy, digits())
    with pytest.raises(TransferkitError, match="k=901"):
        NeighborHead(gallery, labels, 10, 901)
    with pytest.raises(TransferkitError, match=r"cosin'.*cosine"):
        NeighborHead(gallery, labels, 10, 1, "cosin")
