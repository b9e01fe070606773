"""Common parts of the tests of backbones: networks without their slow initialisation, and comparisons."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from transferkit.backbones.backbone import Backbone
from transferkit.backbones.stage_sequence import feature

INITIALISERS = ("kaiming_uniform_", "kaiming_normal_", "xavier_uniform_", "xavier_normal_", "trunc_normal_", "normal_")

_Linear = nn.Linear


class Narrow(_Linear):
    """A fully connected layer with 32 features where VGG and AlexNet have 4,096: 120 million parameters fewer."""

    def __init__(self, n: int, m: int, *more: Any, **named: Any) -> None:
        super().__init__(32 if n == 4096 else n, 32 if m == 4096 else m, *more, **named)


@contextmanager
def quick_initialisation(narrow: bool) -> Iterator[None]:
    """Networks that are built within it get random weights of the usual size at the speed of copying.

    Args:
        narrow: Whether their fully connected layers get 32 features in place of 4,096, too.
    """
    bank = torch.randn(1_000_003, generator=torch.Generator().manual_seed(0))
    starts = itertools.count(step=7919)

    def fill(values: Tensor, *_: Any, **__: Any) -> Tensor:
        if values.is_meta:
            return values
        size = (2 / values[0].numel()) ** 0.5 if values.ndim > 1 else 0.05
        own = bank.roll(next(starts) % len(bank)) * size
        flat = values.detach().view(-1)
        for begin in range(0, len(flat), len(bank)):
            part = flat[begin : begin + len(bank)]
            part.copy_(own[: len(part)])
        return values

    with pytest.MonkeyPatch.context() as patch:
        for name in INITIALISERS:
            patch.setattr(nn.init, name, fill)
        if narrow:
            patch.setattr(nn, "Linear", Narrow)
        yield


def original_of(build: Any, backbone: Backbone, **kwargs: Any) -> nn.Module:
    """The network as its library builds it, with the weights of `backbone`, loaded under its own names, all of them."""
    with torch.device("meta"):
        model: nn.Module = build(**kwargs)
    model.load_state_dict(backbone.original_state_dict(), strict=True, assign=True)
    return model.eval()


def randomise_statistics(backbone: Backbone) -> None:
    """Give batch norms statistics as after training: with those of a new network a mistake could cancel out."""
    generator = torch.Generator().manual_seed(0)
    for module in backbone.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_var is not None:
            assert module.running_mean is not None
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)


@torch.inference_mode()
def assert_same_as_original(backbone: Backbone, original: nn.Module, x: Tensor) -> None:
    """Running all stages, and going on from every one of them, gives what the original gives, bit for bit."""
    expected = original(x)
    states = backbone.forward_stages(x)
    assert list(states) == list(backbone.stage_names)
    assert expected.std() > 0
    for stage, state in states.items():
        assert torch.equal(feature(backbone.forward_from(stage, state)), expected), stage
    assert torch.equal(backbone(x), expected)
