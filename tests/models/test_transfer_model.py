"""A fitted model: saved, loaded, and built upon."""

import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import transferkit as tk
from transferkit.backbones.from_embedded import FOLDER, shipped_weights
from transferkit.errors import TransferkitError
from transferkit.models.transfer_model import Head, TransferModel, load_model, save_model
from transferkit.probes.neighbors import NeighborHead

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


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change `model.json`, as one of format 1: it has no hashes that would tell of it."""
    metadata = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    del metadata["weights_sha256"], metadata["metadata_sha256"]
    change(metadata)
    (folder / "model.json").write_text(json.dumps({**metadata, "format": 1}), encoding="utf-8")


def images() -> torch.Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_the_loaded_model_gives_the_same_logits(model: TransferModel, saved: Path) -> None:
    loaded = load_model(saved)
    assert not loaded.training
    assert loaded.class_names == CLASSES
    assert loaded.preprocess == model.preprocess
    assert loaded.backbone.stage_names == ("stage1", "stage2", "stage3", "stage4")
    torch.testing.assert_close(loaded(images()), model(images()), rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["linear", "neighbors"])
@torch.no_grad()
def test_several_stages_a_pooling_and_a_head_are_restored(model: TransferModel, tmp_path: Path, kind: str) -> None:
    width = 4 * (64 + 256)  # two stages on a grid of two by two cells; stage4 has 4 x 4 positions at 64 pixels
    generator = torch.Generator().manual_seed(0)
    head: Head = nn.Linear(width, 3)
    if kind == "neighbors":
        head = NeighborHead(torch.randn(20, width, generator=generator), torch.arange(20) % 3, 3, k=4, metric="cosine")
    several = TransferModel(model.backbone, head, CLASSES, ["stage4", "stage2"], "grid2").eval()
    assert several.stages == ["stage2", "stage4"]
    save_model(tmp_path, several)
    loaded = load_model(tmp_path)
    assert (loaded.stages, loaded.pool, type(loaded.head)) == (several.stages, "grid2", type(head))
    torch.testing.assert_close(loaded(images()), several(images()), rtol=0, atol=0)
    states = model.backbone.forward_stages(images())
    pooled = [nn.AdaptiveAvgPool2d(2)(states[name]).flatten(1) for name in ("stage2", "stage4")]
    torch.testing.assert_close(several(images()), head(torch.cat(pooled, dim=1)))
    assert [p.label for p in loaded.predict(images())] == [CLASSES[i] for i in several(images()).argmax(dim=1)]


@torch.no_grad()
def test_an_artifact_from_before_there_were_stages_and_pooling_loads(model: TransferModel, saved: Path) -> None:
    edit(saved, lambda metadata: (metadata.pop("stages"), metadata.pop("pool")))
    torch.testing.assert_close(tk.load_model(saved)(images()), model(images()), rtol=0, atol=0)


def test_the_embedded_networks_load_as_models() -> None:
    for folder in (FOLDER / name for name in shipped_weights()):
        loaded = load_model(folder)
        assert (loaded.pool, loaded.stages) == ("avg", [loaded.backbone.stage_names[-1]])


def test_a_head_of_a_later_version_is_refused(saved: Path) -> None:
    edit(saved, lambda metadata: metadata["head"].update(type="forest"))
    with pytest.raises(TransferkitError, match="forest"):
        tk.load_model(saved)


def test_stages_and_pooling_must_exist(model: TransferModel) -> None:
    with pytest.raises(TransferkitError, match="stage9"):
        TransferModel(model.backbone, nn.Linear(256, 3), CLASSES, ["stage9"])
    with pytest.raises(TransferkitError, match="median"):
        TransferModel(model.backbone, nn.Linear(256, 3), CLASSES, pool="median")


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


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda m: m.update(stage="stage9", stages=None), "stage9"),
        (lambda m: m.update(stages=["stage9"]), "stage9"),
        (lambda m: m.update(pool="median"), "median"),
        (lambda m: m["preprocessing"].update(interpolation="magic"), "magic"),
        (lambda m: m["backbone"].update(name="resnet9000"), "resnet9000"),
        (lambda m: m["backbone"].update(name="resnet34"), "resnet34"),
        (lambda m: m["backbone"].update(name="resnet50"), "does not go with"),
        (
            lambda m: m["backbone"].update(source="embedded", name="narrow_vgg8", kwargs={"hidden": 10**6}),
            r"describes a network of [\d,]{17,} values",
        ),
        (lambda m: m["backbone"].update(kwargs={"no_such": 1}), "no_such"),
        (lambda m: m["backbone"].update(kwargs={"weights": "x"}), "weights cannot be set"),
    ],
)
def test_a_description_that_does_not_fit_is_refused_before_memory_is_taken(
    saved: Path, change: Callable[[dict[str, Any]], object], told: str
) -> None:
    edit(saved, change)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(TransferkitError, match=told) as error:
        tk.load_model(saved)
    assert str(saved) in str(error.value) or "backbone" in str(error.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000, "KB"


def test_a_folder_named_like_weights_is_the_folder(
    model: TransferModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(tmp_path / "imagenet", model)
    monkeypatch.chdir(tmp_path)
    torch.testing.assert_close(load_model("imagenet")(images()), model(images()), rtol=0, atol=0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_predictions_that_are_no_numbers_are_refused(model: TransferModel, tmp_path: Path, value: float) -> None:
    save_model(tmp_path, model)
    broken = load_model(tmp_path)
    torch.nn.init.constant_(broken.head.bias, value)  # type: ignore[arg-type]
    with pytest.raises(TransferkitError, match="no finite probabilities"):
        broken.predict(list(images()))
