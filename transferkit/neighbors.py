"""Nearest neighbours in feature space as the head of a model."""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from transferkit.errors import TransferkitError
from transferkit.stage import unknown_name

METRICS = ("l2", "cosine")

TIE_VOTE = 0.01
"""What a class gets, in votes, when the nearest neighbour of all is its own; less the later its first one comes."""

_SPARE = 16
"""How many rows more than asked for are compared exactly."""

_ELEMENTS = 4_000_000
"""The largest number of values that a comparison holds at a time: 16 MB of float32."""


class NeighborHead(nn.Module):
    """Classifies a feature by the labels of the `k` nearest rows of a gallery (Cover and Hart 1967).

    The logits are logarithms of probabilities: `softmax` gives the share of the votes of each class among `k + 1`
    votes, one of a neighbour each and one that is divided evenly among all classes, so that no probability is zero.
    Where classes have equally many votes, a hundredth of a vote decides for the one whose first neighbour is nearer.

    Args:
        gallery: (M, D) features.
        labels: (M,) their classes, from 0 to `num_classes` - 1.
        num_classes: K.
        k: Neighbours that vote.
        metric: "l2" (Euclidean distance), or "cosine" (1 minus the cosine of the angle).

    Attributes:
        gallery: (M, D); for the cosine scaled to unit length.
        labels: (M,).

    Raises:
        TransferkitError: An unknown metric, or `k` outside 1 to M.
    """

    gallery: Tensor
    labels: Tensor

    def __init__(self, gallery: Tensor, labels: Tensor, num_classes: int, k: int = 5, metric: str = "l2") -> None:
        super().__init__()
        check_metric(metric)
        if not 1 <= k <= len(gallery):
            raise TransferkitError(f"k={k} neighbours cannot be had of {len(gallery)} rows.")
        self.num_classes = num_classes
        self.k = k
        self.metric = metric
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
        return vote_shares(self.labels[indices], self.num_classes).log()

    def search(self, features: Tensor, k: int | None = None) -> tuple[Tensor, Tensor]:
        """Return distances and gallery rows, (N, k) each, of the nearest neighbours, nearest first."""
        distances, indices = nearest(prepare_rows(features, self.metric), self.gallery, k or self.k)
        return (distances.square() / 2 if self.metric == "cosine" else distances), indices

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"rows={len(self.gallery)}, in_features={self.in_features}, k={self.k}, metric={self.metric}"


def check_metric(metric: str) -> None:
    """Raise a `TransferkitError` if `metric` is none of `METRICS`."""
    if metric not in METRICS:
        raise TransferkitError(unknown_name("metric", metric, METRICS, "metric"))


def prepare_rows(features: Tensor, metric: str) -> Tensor:
    """Return rows (N, D) between which the Euclidean distance orders as `metric` does."""
    return normalize(features.float(), dim=1) if metric == "cosine" else features.float()


@torch.no_grad()
def nearest(queries: Tensor, gallery: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Find the `k` rows of `gallery` (M, D) nearest to each of the `queries` (N, D), a part of them at a time.

    Distances by matrix products are fast, but equal rows may get slightly different ones. So they only choose some
    candidates, which are then compared by their differences: of up to 16 equally distant rows the earlier comes first.

    Returns:
        Euclidean distances and row indices, (N, k) each, nearest first.
    """
    tried = min(k + _SPARE, len(gallery))
    size = max(1, _ELEMENTS // max(len(gallery), tried * gallery.shape[1]))
    distances, indices = [], []
    for part in torch.split(queries, size):
        candidates = torch.cdist(part, gallery).topk(tried, largest=False).indices.sort(dim=1).values
        exact = (part[:, None] - gallery[candidates]).square().sum(dim=2).sqrt()
        order = exact.argsort(dim=1, stable=True)[:, :k]
        distances.append(exact.gather(1, order))
        indices.append(candidates.gather(1, order))
    if not distances:
        return queries.new_empty(0, k), torch.empty(0, k, dtype=torch.int64, device=queries.device)
    return torch.cat(distances), torch.cat(indices)


def vote_shares(labels: Tensor, num_classes: int) -> Tensor:
    """Return class probabilities (N, K) from the labels (N, k) of neighbours, nearest first: see `NeighborHead`."""
    k = labels.shape[1]
    votes = torch.zeros(len(labels), num_classes, device=labels.device)
    votes.scatter_add_(1, labels, torch.ones_like(labels, dtype=votes.dtype))
    nearness = torch.arange(k, 0, -1, device=labels.device, dtype=votes.dtype) / k
    first = torch.zeros_like(votes).scatter_reduce_(1, labels, nearness.expand(len(labels), k), "amax")
    votes = votes + TIE_VOTE * first + 1 / num_classes
    return votes / votes.sum(dim=1, keepdim=True)
