"""Nearest neighbours in feature space as the head of a model.

scikit-learn's `NearestNeighbors` and faiss were weighed: the first runs on CPUs only and is saved as a pickle, which an
artifact must not hold; the second is a large binary dependency for an exact search that is one matrix product here.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from transferkit.arrays import Features, release_pages
from transferkit.choices import METRICS
from transferkit.errors import TransferkitError, unknown_name

TIE_VOTE = 0.01
"""Tie-breaking votes for the class of the nearest neighbour; fewer for a class whose first neighbour is farther."""

SPARE = 16
"""Number of additional candidates that are compared exactly."""

_ELEMENTS = 4_000_000
"""The largest number of values of rows, or of distances, in memory at a time: 16 MB of float32."""


class NeighborHead(nn.Module):
    """Classifies a feature by the labels of the `k` nearest rows of a gallery (Cover and Hart 1967).

    The logits are logarithms of probabilities: `softmax` gives the share of the votes of each class among `k + 1`
    votes, one per neighbour and one that is divided evenly among all classes, so that no probability is zero.
    Ties are broken by a hundredth of a vote for the class whose first neighbour is nearer.

    Args:
        gallery: (M, D) features.
        labels: (M,) their classes, from 0 to `num_classes` - 1.
        num_classes: K.
        k: Neighbours that vote.
        metric: "l2" (Euclidean distance), or "cosine" (1 minus the cosine of the angle).
        temperature: Divides the logits; 1 for the shares of the votes.

    Attributes:
        gallery: (M, D); for the cosine scaled to unit length.
        labels: (M,).

    Raises:
        TransferkitError: An unknown metric, or `k` outside 1 to M.
    """

    gallery: Tensor
    labels: Tensor

    def __init__(
        self,
        gallery: Tensor,
        labels: Tensor,
        num_classes: int,
        k: int = 5,
        metric: str = "l2",
        *,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        check_metric(metric)
        if not 1 <= k <= len(gallery):
            raise TransferkitError(f"k={k} is more than the {len(gallery)} training images.")
        self.num_classes = num_classes
        self.k = k
        self.metric = metric
        self.temperature = temperature
        self.register_buffer("gallery", prepare_rows(gallery, metric))
        self.register_buffer("labels", labels.to(torch.int64))

    @property
    def in_features(self) -> int:
        """D."""
        return int(self.gallery.shape[1])

    @property
    def out_features(self) -> int:
        """K."""
        return self.num_classes

    def forward(self, features: Tensor) -> Tensor:
        """Return the logits (N, K) of features (N, D)."""
        _, indices = self.search(features)
        return vote_shares(self.labels[indices], self.num_classes).log() / self.temperature

    def search(self, features: Tensor, k: int | None = None) -> tuple[Tensor, Tensor]:
        """Return distances and gallery rows, (N, k) each, of the nearest neighbours, nearest first."""
        distances, indices = nearest(prepare_rows(features, self.metric), self.gallery, k or self.k)
        return (distances.square() / 2 if self.metric == "cosine" else distances), indices

    def extra_repr(self) -> str:
        """The text that `print` shows in parentheses."""
        return f"rows={len(self.gallery)}, in_features={self.in_features}, k={self.k}, metric={self.metric}"


def check_metric(metric: str) -> None:
    """Raise a `TransferkitError` if `metric` is not one of `METRICS`."""
    if metric not in METRICS:
        raise TransferkitError(unknown_name("metric", metric, METRICS, "metric"))


def prepare_rows(features: Tensor, metric: str) -> Tensor:
    """Return rows (..., D) whose Euclidean distances have the same order as `metric`."""
    return normalize(features.float(), dim=-1) if metric == "cosine" else features.float()


@torch.no_grad()
def nearest(
    queries: Tensor | Features, gallery: Tensor | Features, k: int, metric: str = "l2"
) -> tuple[Tensor, Tensor]:
    """Find the `k` rows of `gallery` (M, D) nearest to each of the `queries` (N, D), in parts.

    Arrays may be memory-mapped: only a part of them is in memory at a time. Distances from matrix products are fast,
    but not exactly equal for equal rows. They select candidates, whose exact distances are then compared; of up to 16
    equally distant rows the earlier comes first.

    Returns:
        Euclidean distances (for the cosine, between rows of unit length) and row indices, (N, k) each, nearest first.
    """
    tried, width = min(k + SPARE, len(gallery)), queries.shape[1]
    candidates = _candidates(queries, gallery, tried, metric)
    distances, indices = [], []
    size = max(1, _ELEMENTS // (tried * width))
    for first in range(0, len(queries), size):
        here = slice(first, first + size)
        rows = _part(gallery, candidates[here], metric)
        exact = (_part(queries, here, metric)[:, None] - rows).square().sum(dim=2).sqrt()
        order = exact.argsort(dim=1, stable=True)[:, :k]
        distances.append(exact.gather(1, order))
        indices.append(candidates[here].gather(1, order))
    if not distances:
        return torch.empty(0, k), torch.empty(0, k, dtype=torch.int64)
    return torch.cat(distances), torch.cat(indices)


def _candidates(queries: Tensor | Features, gallery: Tensor | Features, count: int, metric: str) -> Tensor:
    """Rows of the gallery, (N, count) in ascending order, that are the nearest by distances from matrix products."""
    step = max(1, _ELEMENTS // gallery.shape[1])
    size = max(1, min(step, _ELEMENTS // min(step, len(gallery))))
    distances = torch.empty(len(queries), 0)
    rows = torch.empty(len(queries), 0, dtype=torch.int64)
    for first in range(0, len(gallery), step):
        block = _part(gallery, slice(first, first + step), metric)
        near = [
            torch.cdist(_part(queries, slice(i, i + size), metric), block).topk(min(count, len(block)), largest=False)
            for i in range(0, len(queries), size)
        ]
        if not near:
            break
        distances = torch.cat([distances.to(block.device), torch.cat([n.values for n in near])], dim=1)
        rows = torch.cat([rows.to(block.device), torch.cat([n.indices for n in near]) + first], dim=1)
        best = distances.topk(min(count, distances.shape[1]), largest=False)
        distances, rows = best.values, rows.gather(1, best.indices)
    return rows.sort(dim=1).values


def _part(features: Tensor | Features, where: slice | Tensor, metric: str) -> Tensor:
    """Some of the rows, as `prepare_rows` makes them, in memory."""
    if isinstance(features, Tensor):
        return prepare_rows(features[where], metric)
    part = torch.from_numpy(np.array(features[where.numpy() if isinstance(where, Tensor) else where]))
    release_pages(features)
    return prepare_rows(part, metric)


def vote_shares(labels: Tensor, num_classes: int) -> Tensor:
    """Return class probabilities (N, K) from the labels (N, k) of neighbours, nearest first: see `NeighborHead`."""
    # Nothing but what every exporter of graphs knows, so no scatter_reduce; and len() would be a constant in a graph.
    k = labels.shape[1]
    nearness = torch.arange(k, 0, -1, device=labels.device, dtype=torch.float32) / k
    same = labels[:, :, None] == labels[:, None, :]
    first = same.tril(-1).sum(dim=2) == 0  # whether no nearer neighbour has the same label
    votes = torch.zeros(labels.shape[0], num_classes, device=labels.device)
    votes = votes.scatter_add(1, labels, 1 + TIE_VOTE * nearness * first) + 1 / num_classes
    return votes / votes.sum(dim=1, keepdim=True)
