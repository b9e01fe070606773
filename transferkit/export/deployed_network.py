"""The network that is exported: from preprocessed images to probabilities or values, with tensor operations alone."""

import torch
from torch import Tensor, nn

from transferkit.errors import TransferkitError
from transferkit.models.transfer_model import TransferModel
from transferkit.probes.neighbors import SPARE, NeighborHead, prepare_rows, vote_shares
from transferkit.targets.target import Target

INPUT = "images"
"""The name of the network's input (N, 3, H, W) in exported files."""


def output_name(target: Target) -> str:
    """Return the name of the network's output (N, K) in exported files: "probabilities", or "values" of numbers."""
    return "values" if target.kind == "regression" else "probabilities"


class DeployedNetwork(nn.Module):
    """A fitted model whose output is that of its target: probabilities of classes or labels, or numbers.

    Args:
        model: The fitted model; its parameters are shared.

    Raises:
        TransferkitError: Its head is of a kind that cannot be exported.
    """

    def __init__(self, model: TransferModel) -> None:
        super().__init__()
        self.model = model
        self.head, self.target = _head(model.head), model.target
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return the target's outputs (N, K) for preprocessed images (N, 3, H, W)."""
        return self.target.outputs(self.head(self.model.features(images)))


class MatrixNeighbors(nn.Module):
    """A `NeighborHead` in operations that a graph can hold; its gallery is compared in one matrix product.

    As there, distances from the product select candidates, whose exact distances are then compared. Rows are shifted by
    the gallery's mean, which changes no distance and makes the products smaller, hence more exact.

    Args:
        head: With a gallery (M, D).
    """

    centre: Tensor
    gallery: Tensor
    squares: Tensor
    labels: Tensor

    def __init__(self, head: NeighborHead) -> None:
        super().__init__()
        self.num_classes, self.k = head.num_classes, head.k
        self.metric, self.temperature = head.metric, head.temperature
        centre = head.gallery.mean(dim=0)
        self.register_buffer("centre", centre)
        self.register_buffer("gallery", head.gallery - centre)
        self.register_buffer("squares", self.gallery.square().sum(dim=1))
        self.register_buffer("labels", head.labels)

    def forward(self, features: Tensor) -> Tensor:
        """Return the logits (N, K) of features (N, D)."""
        rows = prepare_rows(features, self.metric) - self.centre
        near = self.squares - 2 * rows @ self.gallery.T  # without the square of the row, which is the same for all
        tried = min(self.k + SPARE, len(self.gallery))
        candidates = near.topk(tried, largest=False).indices.sort(dim=1).values
        exact = (rows[:, None] - self.gallery[candidates]).square().sum(dim=2)
        # `stable=True` has no ONNX operation. Of equals the earlier comes first all the same: ONNX's TopK says so, and
        # torch's sort on a CPU does it.
        order = exact.sort(dim=1).indices[:, : self.k]
        votes = vote_shares(self.labels[candidates.gather(1, order)], self.num_classes)
        return votes.log() / self.temperature


def _head(head: nn.Module) -> nn.Module:
    if isinstance(head, NeighborHead):
        return MatrixNeighbors(head)
    if not isinstance(head, nn.Linear):
        raise TransferkitError(f"A model with a head of the kind {type(head).__name__} cannot be exported.")
    return head


def random_inputs(network: DeployedNetwork, count: int = 2) -> Tensor:
    """Return inputs (count, 3, H, W) of the network's size, as an example for tracing."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 3, *network.model.preprocess.input_size, generator=generator)
