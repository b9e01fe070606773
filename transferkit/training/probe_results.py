"""The results of every head of several probes on val, and the best of them."""

from collections.abc import Sequence

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from transferkit.errors import TransferkitError
from transferkit.ranking import best_stage, row_rank, score
from transferkit.training.probe_heads import HeadSums


class ProbeResults(nn.Module):
    """Results on val by probe and value of C; in buffers, so that every checkpoint contains them.

    Args:
        probes: Names, from the first stage to the deepest.
        Cs: Inverse regularisation strengths, ascending.
    """

    right: Tensor
    nll: Tensor
    count: Tensor

    def __init__(self, probes: Sequence[str], Cs: Sequence[float]) -> None:
        super().__init__()
        self.probes, self.Cs = list(probes), list(Cs)
        size = len(self.probes), len(self.Cs)
        self.register_buffer("right", torch.zeros(size, dtype=torch.int64))
        self.register_buffer("nll", torch.zeros(size))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def update(self, sums: Tensor) -> None:
        """Store loss, correct predictions and images (3, heads), summed over val."""
        loss, right, count = sums
        self.right.copy_(right.reshape(self.right.shape))
        self.nll.copy_((loss / count).reshape(self.nll.shape))
        self.count.copy_(count[0])

    @property
    def figures(self) -> dict[str, list[dict[str, float]]]:
        """For each probe, one row per value of C: `C`, `val_top1`, `val_nll`; empty before the first pass over val."""
        n = int(self.count)
        if n == 0:
            return {}
        rows = zip(self.probes, self.right.tolist(), self.nll.tolist(), strict=True)
        return {
            name: [
                {"C": C, "val_top1": right / n, "val_nll": nll}
                for C, right, nll in zip(self.Cs, rights, nlls, strict=True)
            ]
            for name, rights, nlls in rows
        }

    def best_row(self, probe: str) -> dict[str, float]:
        """The row of `figures` that ranks first (`ranking.rank`); ties go to the smaller C.

        Raises:
            TransferkitError: Val was never passed over.
        """
        if not self.figures:
            raise TransferkitError("Nothing was validated, so there is no best head: fit with a val loader, or name C.")
        return max(self.figures[probe], key=row_rank)

    def best_C(self, probe: str) -> float:
        """The best C of a probe; a single one also without validation."""
        return self.Cs[0] if len(self.Cs) == 1 else self.best_row(probe)["C"]

    @property
    def best(self) -> tuple[str, float]:
        """Name and C of the probe that ranks first."""
        name = best_stage({name: self.best_row(name) for name in self.probes})
        return name, self.best_row(name)["C"]

    def place(self, probe: str, C: float) -> int:
        """The index of a head among all heads, probe by probe."""
        return self.probes.index(probe) * len(self.Cs) + self.Cs.index(C)


def log_best(module: pl.LightningModule, results: ProbeResults, train_sums: HeadSums, val_sums: HeadSums) -> None:
    """Store the sums over val, and log `val_loss`, `val_top1`, `val_score` and `train_loss` of the best."""
    if not val_sums:
        return
    results.update(val_sums.over_processes(module))
    name, C = results.best
    row = results.best_row(name)
    module.log_dict({"val_loss": row["val_nll"], "val_top1": row["val_top1"]}, prog_bar=True)
    module.log("val_score", score(row["val_top1"], row["val_nll"], int(results.count)))
    if train_sums:
        module.log("train_loss", train_sums.mean_losses(module)[results.place(name, C)])
