"""Files of weights: good ones in all their wrappings, and bad ones that must not do harm."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from transferkit.backbones.weights import read_state_dict
from transferkit.errors import TransferkitError

STATE = {"conv.weight": torch.arange(4.0), "conv.bias": torch.ones(1)}


def assert_is_state(read: dict[str, torch.Tensor]) -> None:
    assert read.keys() == STATE.keys()
    assert all(torch.equal(read[name], STATE[name]) for name in STATE)


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"state_dict": STATE, "epoch": 3},
        {"model": {f"module.{name}": value for name, value in STATE.items()}},
        {"state_dict": {name: value * 0 for name, value in STATE.items()}, "state_dict_ema": STATE},
        {f"_orig_mod.module.{name}": value for name, value in STATE.items()},
        {f"module._orig_mod.{name}": value for name, value in STATE.items()},
    ],
    ids=["plain", "nested", "parallel", "averaged", "compiled", "compiled-parallel"],
)
@pytest.mark.parametrize("legacy", [False, True])
def test_torch_files(tmp_path, content, legacy):
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=not legacy)
    assert_is_state(read_state_dict(tmp_path / "w.pth"))


def test_safetensors(tmp_path):
    save_file(STATE, tmp_path / "w.safetensors")
    assert_is_state(read_state_dict(tmp_path / "w.safetensors"))


class Harm:
    """Pickles to the creation of a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("how", ["torch", "legacy", "pickle"])
def test_code_in_a_pickle_is_not_executed(tmp_path, how):
    victim, file = tmp_path / "executed", tmp_path / "w.pth"
    content = {"conv.weight": torch.ones(1), "harm": Harm(victim)}
    if how == "pickle":
        file.write_bytes(pickle.dumps(content["harm"]))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=how == "torch")
    with pytest.raises(TransferkitError, match=r"w\.pth (holds Python objects|is .* no weights file)") as caught:
        read_state_dict(file)
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value), "no advice to load without protection"
    assert how == "pickle" or "it was not loaded" in str(caught.value)
    assert not victim.exists()
    pickle.loads(pickle.dumps(content["harm"]))
    assert victim.exists(), "the test's own pickle is harmless"


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("kept", [0, 100, 0.5, 0.99])
def test_a_truncated_file_is_one_clear_message(tmp_path, suffix, kept):
    file = tmp_path / f"w{suffix}"
    big = {**STATE, "fc.weight": torch.randn(100, 100)}
    torch.save(big, file) if suffix == ".pth" else save_file(big, file)
    content = file.read_bytes()
    file.write_bytes(content[: kept if isinstance(kept, int) else int(len(content) * kept)])
    with pytest.raises(TransferkitError, match=rf"w\{suffix}.*truncated") as caught:
        read_state_dict(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["page.pth", "page.safetensors"])
def test_a_saved_error_page_is_no_weights_file(tmp_path, name):
    (tmp_path / name).write_text("<!DOCTYPE html><title>404</title>" * 20)
    with pytest.raises(TransferkitError, match="no weights file"):
        read_state_dict(tmp_path / name)


@pytest.mark.parametrize("content", [[torch.ones(1)], {"weights": 3}, torch.ones(2), {"state_dict": {"a": 1}}])
def test_other_content_is_no_state_dict(tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(TransferkitError, match="no state dict"):
        read_state_dict(tmp_path / "w.pt")


def test_a_missing_file(tmp_path):
    with pytest.raises(TransferkitError, match=r"there is no file .*w\.pth"):
        read_state_dict(tmp_path / "w.pth")
