"""Linear classifiers on the same features, trained together by gradient: one for each of several values of C."""

from collections.abc import Mapping, Sequence

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from transferkit.errors import TransferkitError
from transferkit.probes.scaling import SHRINKAGE

_CONSTANT = 1e-6
"""A feature whose deviation is below this fraction of its mean is constant up to rounding, and not scaled."""


class ProbeHeads(nn.Module):
    """One linear layer per value of C, on features scaled by the mean and variance of all rows observed so far.

    The scale is that of `ShrunkScaler` for the number of training images. Each layer minimises scikit-learn's objective
    of logistic regression, divided by C n: the mean cross entropy of n rows + ||W||^2 / (2 C n), where the bias is not
    penalised.

    Args:
        in_features: D.
        num_classes: K.
        Cs: Inverse regularisation strengths.
        widths: Features of each stage, where those of several are side by side; they add up to D.
    """

    mean: Tensor
    var: Tensor
    seen: Tensor
    images: Tensor

    def __init__(
        self, in_features: int, num_classes: int, Cs: Sequence[float], widths: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        self.Cs = tuple(Cs)
        self.in_features = in_features
        self.widths = [in_features] if widths is None else list(widths)
        self.weight = nn.Parameter(torch.zeros(len(self.Cs), num_classes, in_features))
        self.bias = nn.Parameter(torch.zeros(len(self.Cs), num_classes))
        self.register_buffer("mean", torch.zeros(in_features))
        self.register_buffer("var", torch.ones(in_features))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("images", torch.zeros((), dtype=torch.int64))

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
        # The first rows replace the initial variance of 1.
        old = torch.where(before > 0, self.var, torch.zeros_like(self.var))
        self.var.copy_((1 - share) * old + share * var + share * (1 - share) * step.square())

    @property
    def scale(self) -> Tensor:
        """The divisor of the features, (D,)."""
        var = torch.where(self.var.sqrt() > _CONSTANT * self.mean.abs(), self.var, torch.zeros_like(self.var))
        means = torch.cat([part.mean().expand(len(part)) for part in torch.split(var, self.widths)])
        # Rows are observed in every epoch anew, but only so many are different.
        weight = self.images / (self.images + SHRINKAGE) if self.images > 0 else 1.0
        scale = (weight * var + (1 - weight) * means).sqrt()
        return torch.where(scale > 0, scale, torch.ones_like(scale))

    def forward(self, features: Tensor) -> Tensor:
        """Logits (N, number of Cs, K) of raw features (N, D)."""
        rows = (features - self.mean) / self.scale
        return torch.einsum("nd,ckd->nck", rows, self.weight) + self.bias

    def penalties(self, n: int) -> Tensor:
        """Return ||W||^2 / (2 C n) for each C, for `n` training rows."""
        return self.weight.square().sum(dim=(1, 2)) / (2 * n * self.weight.new_tensor(self.Cs))

    @torch.no_grad()
    def linear(self, C: float) -> nn.Linear:
        """The layer of that C for raw features, on the CPU: the standardisation is folded in.

        Raises:
            TransferkitError: This C was not trained.
        """
        if C not in self.Cs:
            raise TransferkitError(f"C={C} was not trained: {', '.join(f'{value:g}' for value in self.Cs)}.")
        index = self.Cs.index(C)
        weight = self.weight[index].cpu().double() / self.scale.cpu().double()
        bias = self.bias[index].cpu().double() - weight @ self.mean.cpu().double()
        layer = nn.Linear(weight.shape[1], weight.shape[0])
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
        return layer


def create_heads(widths: Mapping[str, Sequence[int]], num_classes: int, Cs: Sequence[float]) -> nn.ModuleDict:
    """Return the heads of several probes, by name, for stages of so many features each."""
    return nn.ModuleDict({name: ProbeHeads(sum(w), num_classes, Cs, w) for name, w in widths.items()})


def stacked_logits(heads: Mapping[str, ProbeHeads], features: Mapping[str, Tensor]) -> Tensor:
    """Logits (n, probes * number of Cs, K) of the heads of several probes on features (n, D), in full precision."""
    first = next(iter(features.values()))
    with torch.autocast(first.device.type, enabled=False):
        return torch.stack([layers(features[name]) for name, layers in heads.items()], dim=1).flatten(1, 2)


def joint_objective(heads: Mapping[str, ProbeHeads], losses: Tensor, n: int) -> Tensor:
    """The sum of the objectives of all heads, from their losses (rows, heads), for `n` training rows."""
    penalties = torch.cat([layers.penalties(n) for layers in heads.values()])
    objective: Tensor = (losses.mean(dim=0) + penalties).sum()
    return objective


def observe_batch(module: pl.LightningModule, layers: ProbeHeads, rows: Tensor) -> None:
    """Update the standardisation with the features (n, D) of a batch, of all processes that share it."""
    var, mean = torch.var_mean(rows, dim=0, correction=0)
    moments = module.all_gather(torch.stack([torch.full_like(mean, len(rows)), mean, var]))
    for n, mean, var in moments.reshape(-1, 3, rows.shape[1]):
        layers.observe(n[0].long(), mean, var)


def head_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy (n, number of Cs) of logits (n, number of Cs, K) and labels (n,)."""
    wanted = labels[:, None, None].expand(-1, logits.shape[1], 1)
    return -logits.log_softmax(dim=2).gather(2, wanted)[:, :, 0]


class HeadSums:
    """Loss and correct predictions of every head over all batches; (3, heads) with the number of images."""

    def __init__(self) -> None:
        self.values: Tensor | None = None

    def add(self, losses: Tensor, logits: Tensor, labels: Tensor, anew: bool = False) -> None:
        """Count losses (n, heads) and logits (n, heads, K) of a batch with labels (n,)."""
        right = (logits.argmax(dim=2) == labels[:, None]).double()
        new = torch.stack([losses.double().sum(0), right.sum(0), torch.ones_like(right).sum(0)])
        self.values = new if anew or self.values is None else self.values + new

    def __bool__(self) -> bool:
        return self.values is not None

    def mean_losses(self, module: pl.LightningModule) -> list[float]:
        """The mean loss of every head over all batches."""
        loss, _, count = self.over_processes(module)
        losses: list[float] = (loss / count).tolist()
        return losses

    def over_processes(self, module: pl.LightningModule) -> Tensor:
        """The sums, on the CPU, of all processes that share the work."""
        gathered: Tensor = module.all_gather(self.values)
        return gathered.reshape(-1, 3, gathered.shape[-1]).sum(0).cpu()
