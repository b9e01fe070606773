"""Reading an artifact executes nothing, and what is wrong with one is said in one message."""

import json
from pathlib import Path

import pytest
import torch

from transferkit.artifact import is_artifact, read_metadata, read_tensors, write_artifact
from transferkit.errors import TransferkitError

METADATA = {"backbone": {}, "stage": "stage5", "head": {}, "class_names": ["a", "b"], "preprocessing": {}}


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    tensors = {
        "backbone.w": torch.eye(2, dtype=torch.float16),
        "backbone.n": torch.tensor(3),
        "head.bias": torch.ones(2),
    }
    write_artifact(tmp_path / "run", METADATA, tensors)
    return tmp_path / "run"


def test_it_comes_back(artifact: Path) -> None:
    assert is_artifact(artifact)
    assert read_metadata(artifact) == {"format": 1, **METADATA}
    tensors = read_tensors(artifact, "backbone.")
    assert set(tensors) == {"w", "n"}
    assert tensors["w"].dtype == torch.float32
    assert tensors["n"].dtype == torch.int64
    assert torch.equal(tensors["w"], torch.eye(2))


def test_nothing_but_the_two_files_is_left(artifact: Path) -> None:
    assert {path.name for path in artifact.iterdir()} == {"model.safetensors", "model.json"}
    assert len({path.stat().st_mode for path in artifact.iterdir()}) == 1


def damage(folder: Path, name: str, content: str | None) -> None:
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("model.json", None, "not the run directory"),
        ("model.json", "{", "damaged"),
        ("model.json", "[]", "lacks"),
        ("model.json", json.dumps({"format": 1, **METADATA, "stage": 1}).replace('"stage": 1, ', ""), "lacks stage"),
        ("model.json", json.dumps({"format": 99, **METADATA}), "format 99"),
    ],
)
def test_damaged_metadata(artifact: Path, name: str, content: str | None, told: str) -> None:
    damage(artifact, name, content)
    with pytest.raises(TransferkitError, match=told):
        read_metadata(artifact)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(TransferkitError, match="not a folder"):
        read_metadata(tmp_path / "nowhere")


@pytest.mark.parametrize("content", [None, "", "no safetensors at all"])
def test_damaged_weights(artifact: Path, content: str | None) -> None:
    damage(artifact, "model.safetensors", content)
    with pytest.raises(TransferkitError, match=r"model\.safetensors"):
        read_tensors(artifact, "backbone.")


def test_truncated_weights(artifact: Path) -> None:
    path = artifact / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(TransferkitError, match="damaged"):
        read_tensors(artifact, "backbone.")
