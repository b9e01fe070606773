"""Linear classifiers on the same features, trained together by gradient: one for each of several values of C."""

from collections.abc import Sequence

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

_CONSTANT = 1e-6
"""A feature whose deviation is below this part of its mean is constant but for rounding, and not scaled."""


class ProbeHeads(nn.Module):
    """One linear layer a value of C, on features standardised by the mean and variance of all rows observed so far.

    Each minimises scikit-learn's objective of logistic regression, divided by C n: the mean cross entropy of n rows +
    ||W||^2 / (2 C n), where the bias is free.

    Args:
        in_features: D.
        num_classes: K.
        Cs: Inverse regularisation strengths.
    """

    mean: Tensor
    var: Tensor
    seen: Tensor

    def __init__(self, in_features: int, num_classes: int, Cs: Sequence[float]) -> None:
        super().__init__()
        self.Cs = tuple(Cs)
        self.in_features = in_features
        self.weight = nn.Parameter(torch.zeros(len(self.Cs), num_classes, in_features))
        self.bias = nn.Parameter(torch.zeros(len(self.Cs), num_classes))
        self.register_buffer("mean", torch.zeros(in_features))
        self.register_buffer("var", torch.ones(in_features))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def observe(self, n: Tensor | int, mean: Tensor, var: Tensor) -> None:
        """Count `n` rows of that mean and (biased) variance, each (D,).

        The formula for merging moments is that of Chan et al. 1979, Updating formulae and a pairwise algorithm.
        """
        before = self.seen.clone()
        self.seen += n
        share = n / self.seen
        step = mean - self.mean
        self.mean += share * step
        # The first rows replace the variance of 1 that stood for an unknown one.
        old = torch.where(before > 0, self.var, torch.zeros_like(self.var))
        self.var.copy_((1 - share) * old + share * var + share * (1 - share) * step.square())

    @property
    def scale(self) -> Tensor:
        """What the features are divided by, (D,)."""
        deviation = self.var.sqrt()
        return torch.where(deviation > _CONSTANT * self.mean.abs(), deviation, torch.ones_like(deviation))

    def forward(self, features: Tensor) -> Tensor:
        """Logits (N, number of Cs, K) of raw features (N, D)."""
        rows = (features - self.mean) / self.scale
        return torch.einsum("nd,ckd->nck", rows, self.weight) + self.bias

    def penalties(self, n: int) -> Tensor:
        """Return ||W||^2 / (2 C n) for each C, where `n` rows are trained on."""
        return self.weight.square().sum(dim=(1, 2)) / (2 * n * self.weight.new_tensor(self.Cs))

    @torch.no_grad()
    def linear(self, index: int) -> nn.Linear:
        """The layer of the C at that place, for raw features, on the CPU: the standardisation is folded in."""
        weight = self.weight[index].cpu().double() / self.scale.cpu().double()
        bias = self.bias[index].cpu().double() - weight @ self.mean.cpu().double()
        layer = nn.Linear(weight.shape[1], weight.shape[0])
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
        return layer


def head_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy (n, number of Cs) of logits (n, number of Cs, K) and labels (n,)."""
    wanted = labels[:, None, None].expand(-1, logits.shape[1], 1)
    return -logits.log_softmax(dim=2).gather(2, wanted)[:, :, 0]


class HeadSums:
    """Loss and right answers of every head over all batches; (3, heads) with the number of images."""

    def __init__(self) -> None:
        self.values: Tensor | None = None

    def add(self, losses: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Count losses (n, heads) and logits (n, heads, K) of a batch with labels (n,)."""
        right = (logits.argmax(dim=2) == labels[:, None]).double()
        new = torch.stack([losses.double().sum(0), right.sum(0), torch.ones_like(right).sum(0)])
        self.values = new if self.values is None else self.values + new

    def over_processes(self, module: pl.LightningModule) -> Tensor:
        """The sums, on the CPU, of all processes that share the work."""
        gathered: Tensor = module.all_gather(self.values)
        return gathered.reshape(-1, 3, gathered.shape[-1]).sum(0).cpu()
