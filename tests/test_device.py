import pytest
import torch

from transferkit import device
from transferkit.device import autocast, find_device, find_precision
from transferkit.errors import TransferkitError

CPU = torch.device("cpu")


def test_unknown_devices_are_one_message() -> None:
    with pytest.raises(TransferkitError, match="quantum"):
        find_device("quantum")
    assert find_device("cpu") == CPU


@pytest.mark.parametrize(("multiplies", "expected"), [(True, "bf16"), (False, "fp32")])
def test_auto_follows_what_the_cpu_can_multiply(monkeypatch, multiplies, expected) -> None:
    monkeypatch.setattr(device, "cpu_multiplies_bf16", lambda: multiplies)
    assert find_precision("auto", CPU) == expected


@pytest.mark.parametrize(("has_bf16", "expected"), [(True, "bf16"), (False, "fp16")])
def test_auto_on_a_gpu(monkeypatch, has_bf16, expected) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16)
    assert find_precision("auto", torch.device("cuda")) == expected


def test_what_is_asked_for_is_used_or_refused() -> None:
    assert find_precision("fp32", CPU) == "fp32"
    assert find_precision("bf16", CPU) == "bf16"
    with pytest.raises(TransferkitError, match=r"trainer\.precision=fp16"):
        find_precision("fp16", CPU)
    with pytest.raises(TransferkitError, match=r"trainer\.precision.*fp64.*bf16"):
        find_precision("fp64", CPU)


def test_products_have_the_format() -> None:
    x = torch.ones(4, 4)
    with autocast("bf16", CPU):
        assert (x @ x).dtype == torch.bfloat16
    with autocast("fp32", CPU):
        assert (x @ x).dtype == torch.float32
