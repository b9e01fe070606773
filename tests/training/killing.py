"""Trainings under other circumstances: ended in the middle as by a signal, and in processes that start quickly."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import pytorch_lightning as pl


@contextmanager
def killed_in(module: Any, monkeypatch: pytest.MonkeyPatch, epoch: int, step: int = 0) -> Iterator[None]:
    """Within it, a fit of this kind of module raises in that step of that epoch; the test fails if none does."""
    train = module.training_step

    def killed(self: Any, batch: Any, index: Any) -> Any:
        if self.current_epoch == epoch and index == step:
            raise RuntimeError("killed")
        return train(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(module, "training_step", killed)
        with pytest.raises(RuntimeError, match="killed"):
            yield


@contextmanager
def forked_processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Within it, the processes of a fit on several devices are forks, which need not import torch again."""
    trainer = pl.Trainer

    def forking(**keys: Any) -> pl.Trainer:
        return trainer(**{**keys, "strategy": "ddp_fork" if keys["devices"] > 1 else "auto"})

    with monkeypatch.context() as patch:
        patch.setattr(pl, "Trainer", forking)
        yield
