"""A fitted model: saved, loaded, and built upon."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import transferkit as tk
from transferkit.errors import TransferkitError
from transferkit.model import TransferModel, save_model

CLASSES = ["ant", "bee", "wasp"]


@pytest.fixture(scope="module")
def model() -> TransferModel:
    torch.manual_seed(0)
    backbone = tk.create_backbone("resnet18", weights=None, input_size=64).truncate("stage4")
    return TransferModel(backbone, nn.Linear(256, 3), CLASSES).eval()


@pytest.fixture
def saved(model: TransferModel, tmp_path: Path) -> Path:
    save_model(tmp_path, model, dataset={"kind": "digits"})
    return tmp_path


def images() -> torch.Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_the_loaded_model_gives_the_same_logits(model: TransferModel, saved: Path) -> None:
    loaded = tk.load_model(saved)
    assert not loaded.training
    assert loaded.class_names == CLASSES
    assert loaded.preprocess == model.preprocess
    assert loaded.backbone.stage_names == ("stage1", "stage2", "stage3", "stage4")
    torch.testing.assert_close(loaded(images()), model(images()), rtol=0, atol=0)


@torch.no_grad()
def test_half_precision_storage_stays_close(model: TransferModel, tmp_path: Path) -> None:
    save_model(tmp_path / "half", model, dtype=torch.float16)
    save_model(tmp_path / "full", model)
    half, full = tmp_path / "half/model.safetensors", tmp_path / "full/model.safetensors"
    assert half.stat().st_size < 0.51 * full.stat().st_size
    loaded = tk.load_model(tmp_path / "half")
    assert all(t.dtype == torch.float32 for t in loaded.parameters())
    torch.testing.assert_close(loaded(images()), model(images()), rtol=0.02, atol=0.02)


@torch.no_grad()
def test_the_artifact_is_a_source_of_weights_for_another_model(model: TransferModel, saved: Path) -> None:
    backbone = tk.create_backbone("resnet18", weights=str(saved))
    expected = model.backbone(images())
    torch.testing.assert_close(backbone.forward_stages(images(), ["stage4"])["stage4"], expected, rtol=0, atol=0)
    assert backbone.preprocess.input_size == model.preprocess.input_size


def test_the_artifact_of_another_architecture_is_refused(saved: Path) -> None:
    with pytest.raises(TransferkitError, match="resnet18"):
        tk.create_backbone("resnet34", weights=str(saved))


def test_head_and_names_must_agree(model: TransferModel) -> None:
    with pytest.raises(TransferkitError, match="3 logits, for 2"):
        TransferModel(model.backbone, nn.Linear(256, 3), ["a", "b"])


def test_predict_leaves_the_mode_as_it_was(model: TransferModel) -> None:
    model.train()
    first = model.predict(list(images()))
    assert model.training
    model.eval()
    second = model.predict(list(images()))
    for one, two in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.probabilities, two.probabilities)


def test_an_image_given_as_bytes_of_colour(model: TransferModel) -> None:
    pixels = torch.randint(0, 256, (3, 40, 50), dtype=torch.uint8)
    (prediction,) = model.predict([pixels])
    assert prediction.label in CLASSES
    assert prediction.probabilities.sum() == pytest.approx(1, abs=1e-5)
    assert prediction.confidence == pytest.approx(prediction.probabilities.max())


def test_an_unreadable_path_is_named(model: TransferModel, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"text")
    with pytest.raises(TransferkitError, match=r"broken\.jpg"):
        model.predict([tmp_path / "broken.jpg"])
