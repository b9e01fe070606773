"""Ends a training in the middle, as a signal would."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


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
