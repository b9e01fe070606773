"""Weights are hashed once, and anew whenever they change, by whichever way."""

from collections.abc import Callable
from hashlib import sha256

import pytest
import torch

import transferkit as tk
from transferkit.backbones.backbone import Backbone
from transferkit.features.keys import describe


@pytest.fixture
def backbone() -> Backbone:
    return tk.create_backbone("narrow_resnet10", "resnet_glyphs")


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with each time that weights are hashed."""
    calls: list[int] = []

    def count() -> object:
        calls.append(1)
        return sha256()

    monkeypatch.setattr("transferkit.features.keys.sha256", count)
    return calls


def test_weights_are_hashed_once(backbone: Backbone, hashed: list[int]) -> None:
    first = describe(backbone, ["stage2", "stage5"])
    assert describe(backbone, ["stage2", "stage5"], "max")["stage5"]["weights"] == first["stage5"]["weights"]
    assert describe(backbone, ["stage2"])["stage2"] == first["stage2"]
    assert len(hashed) == 1
    assert first["stage2"]["weights"] != first["stage5"]["weights"]
    describe(tk.create_backbone("narrow_resnet10", "resnet_glyphs"), ["stage2"])
    assert len(hashed) == 2


def behind_torch(parameter: torch.nn.Parameter) -> None:
    parameter.data.view(-1)[0] += 1


def in_numpy(parameter: torch.nn.Parameter) -> None:
    parameter.detach().numpy().reshape(-1)[0] += 1


def in_place(parameter: torch.nn.Parameter) -> None:
    with torch.no_grad():
        parameter.view(-1)[0] += 1


def replaced(parameter: torch.nn.Parameter) -> None:
    parameter.data = parameter.data + 1


@pytest.mark.parametrize("change", [behind_torch, in_numpy, in_place, replaced])
def test_changed_weights_have_another_key(
    backbone: Backbone, hashed: list[int], change: Callable[[torch.nn.Parameter], None]
) -> None:
    before = describe(backbone, ["stage1", "stage3"])
    change(next(iter(backbone.stages["stage3"].parameters())))
    after = describe(backbone, ["stage1", "stage3"])
    assert after["stage1"] == before["stage1"]
    assert after["stage3"]["weights"] != before["stage3"]["weights"]
    assert len(hashed) == 2
