"""Cached training inputs: activations or pixels in place of images."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from transferkit.arrays import Rows
from transferkit.device import TYPES


class StoredInputs:
    """Rows in memory or in memory-mapped files, several views of each image.

    Attributes:
        labels: (N,), or (N, T).
        views: Number of views per image.

    Args:
        chunks: Arrays (n, ...), of maps (n, H, W, C) if `precision` is given.
        places: (views, N, 2): chunk and row of each view of each image.
        labels: (N,), or (N, T).
        precision: The format of the rows, in the layout of `pack`; None for rows that are used unchanged.
        owner: An object that prevents the files of memory-mapped chunks from being removed.
    """

    def __init__(
        self,
        chunks: Sequence[Rows],
        places: npt.NDArray[np.int64],
        labels: Any,
        precision: str | None = None,
        owner: object = None,
    ) -> None:
        # As tensors, arrays are passed to other processes through shared memory.
        self._chunks = [c if isinstance(c, np.memmap) else torch.from_numpy(c) for c in chunks]
        self._places = places
        given = torch.as_tensor(labels)
        self.labels = given if given.ndim > 1 else given.to(torch.int64)
        self.views = len(places)
        self._precision = precision
        self._owner = owner

    @classmethod
    def of(cls, rows: Rows, labels: Any) -> "StoredInputs":
        """One row (n, ...) per image, used unchanged."""
        places = np.stack([np.zeros(len(rows), np.int64), np.arange(len(rows))], axis=1)
        return cls([rows], places[None], labels)

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Any, views: Any = 0) -> tuple[Tensor, Tensor]:
        """Inputs (n, ...) and labels (n,) of images at these positions, each in its view.

        Args:
            indices: (n,), at least one.
            views: (n,), or one for all.
        """
        indices = np.asarray(indices, dtype=np.int64)
        places = self._places[views, indices]
        chunks = {int(number): np.asarray(self._chunks[number]) for number in np.unique(places[:, 0])}
        first = chunks[int(places[0, 0])]
        rows = np.empty((len(places), *first.shape[1:]), dtype=first.dtype)
        for number, chunk in chunks.items():
            mine = np.flatnonzero(places[:, 0] == number)
            rows[mine] = chunk[places[mine, 1]]
        inputs = torch.from_numpy(rows) if self._precision is None else unpack(rows, self._precision)
        return inputs, self.labels[torch.from_numpy(indices)]

    def __getstate__(self) -> dict[str, Any]:
        """Pickle for another process, with files by their names."""
        chunks = [(c.filename, c.dtype.str, c.shape) if isinstance(c, np.memmap) else c for c in self._chunks]
        return {**self.__dict__, "_chunks": chunks, "_owner": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        chunks = [np.memmap(c[0], c[1], "r", shape=c[2]) if isinstance(c, tuple) else c for c in state["_chunks"]]
        self.__dict__.update({**state, "_chunks": chunks})


def pack(state: Tensor, precision: str) -> Rows:
    """Rows for storage: maps (n, C, H, W) as (n, H, W, C), their memory layout; bf16 as int16, bit for bit."""
    rows = (state.permute(0, 2, 3, 1) if state.ndim == 4 else state).detach().to("cpu", TYPES[precision]).contiguous()
    return rows.view(torch.int16).numpy() if precision == "bf16" else rows.numpy()


def unpack(rows: Rows, precision: str) -> Tensor:
    """The inverse of `pack`."""
    tensor = torch.from_numpy(rows)
    tensor = tensor.view(torch.bfloat16) if precision == "bf16" else tensor
    return tensor.permute(0, 3, 1, 2) if tensor.ndim == 4 else tensor
