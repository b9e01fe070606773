"""task=embed: features with the paths of their images, of a pretrained network or of a run."""

import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

import transferkit as tk
from tests.conftest import compose_settings
from transferkit.backbones.stage_sequence import feature
from transferkit.cli.embed import main
from transferkit.errors import TransferkitError
from transferkit.models.transfer_model import TransferModel, save_model


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    data = tk.load_data({"kind": "digits", "name": "digits"}, seed=0)
    (folder / "below").mkdir()
    for i in range(6):
        data.test.image(i).save(folder / f"{i}.png")
    data.test.image(6).save(folder / "below" / "größe 数字.png")
    (folder / "broken.jpg").write_bytes(b"not an image")
    return folder


def embed(out: Path, photos: Path | str, *overrides: str, **more: Any) -> tuple[list[str], np.ndarray, dict[str, Any]]:
    """Run the task; the paths, the features and the description that it wrote."""
    settings = compose_settings("linear_probe", "task=embed", "dataset=digits", *overrides)
    main({**settings, "run": None, "images": str(photos), "choices": ["backbone"], **more}, out)
    with (out / "embeddings.csv").open(encoding="utf-8", newline="") as file:
        names = [row["image"] for row in csv.DictReader(file)]
    return names, np.load(out / "embeddings.npy"), json.loads((out / "embed.json").read_text(encoding="utf-8"))


def by_the_network(backbone: Any, paths: list[str], stage: str) -> np.ndarray:
    """Means over the maps of a stage, image by image."""
    from PIL import Image

    rows = []
    for path in paths:
        with torch.inference_mode(), Image.open(path) as image:
            state = backbone.forward_stages(backbone.preprocess(image.convert("RGB"))[None], [stage])[stage]
        rows.append(feature(state)[0].mean(dim=(1, 2)).numpy())
    return np.stack(rows)


@pytest.mark.parametrize("stage", [None, "stage3"])
def test_rows_are_the_networks_features_in_the_order_of_the_paths(photos, tmp_path, stage):
    chosen = [f"task.stage={stage}"] if stage else []
    names, features, description = embed(tmp_path, photos, *chosen)
    assert sorted(names) == sorted(str(path) for path in photos.rglob("*.png"))
    backbone = tk.create_backbone("narrow_resnet10", "resnet_glyphs")
    np.testing.assert_allclose(features, by_the_network(backbone, names, stage or "stage5"), atol=1e-4)
    assert features.dtype == np.float32
    assert "broken.jpg" in (tmp_path / "unreadable.csv").read_text(encoding="utf-8")
    assert (description["images"], description["features"]) == features.shape
    assert (description["stages"], description["weights"]) == ([stage or "stage5"], "resnet_glyphs")


def test_a_runs_features_are_what_its_head_takes(photos, tmp_path):
    backbone = tk.create_backbone("narrow_resnet10", "resnet_glyphs").truncate("stage4")
    head = torch.nn.Linear(backbone.width("stage3") + backbone.width("stage4"), 2)
    model = TransferModel(backbone, head, ["a", "b"], ["stage3", "stage4"]).eval()
    save_model(tmp_path / "run", model)
    names, features, description = embed(tmp_path, photos, run=str(tmp_path / "run"), choices=[])
    with torch.inference_mode():
        logits = head(torch.from_numpy(features))
    expected = [prediction.probabilities for prediction in model.predict(names)]
    np.testing.assert_allclose(logits.softmax(dim=1).numpy(), expected, atol=1e-5)
    assert description["run"] == str((tmp_path / "run").resolve())


def test_parquet_holds_the_same(photos, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    names, features, _ = embed(tmp_path, photos)
    settings = compose_settings("linear_probe", "task=embed", "dataset=digits", "task.format=parquet")
    main({**settings, "images": str(photos), "choices": ["backbone"]}, tmp_path)
    table = parquet.read_table(tmp_path / "embeddings.parquet")
    assert table.column("image").to_pylist() == names
    np.testing.assert_array_equal(np.array(table.column("embedding").to_pylist(), np.float32), features)


def test_mistakes_are_one_message_before_any_work(photos, tmp_path, monkeypatch):
    with pytest.raises(TransferkitError, match=r"needs run=RUN_DIR, or a backbone"):
        embed(tmp_path, photos, choices=[])
    with pytest.raises(TransferkitError, match=r"needs images="):
        embed(tmp_path, "")
    with pytest.raises(TransferkitError, match=r"task\.stage: there is no stage 'stage9'"):
        embed(tmp_path, photos, "task.stage=stage9")
    with pytest.raises(TransferkitError, match=r"None of the 1 images"):
        embed(tmp_path, photos / "broken.jpg")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(TransferkitError, match=r"transferkit\[parquet\]"):
        embed(tmp_path, photos, "task.format=parquet")
    assert not list(tmp_path.glob("embed*"))


def test_the_index_finds_what_scikit_learn_finds(photos, tmp_path, monkeypatch):
    faiss = pytest.importorskip("faiss")
    names, features, description = embed(tmp_path, photos, "embed.index=faiss")
    assert description["index"] == {"file": "embeddings.faiss", "score": "cosine similarity"}
    index = faiss.read_index(str(tmp_path / "embeddings.faiss"))
    assert index.ntotal == len(names)
    asked = features / np.linalg.norm(features, axis=1, keepdims=True)
    scores, rows = index.search(asked, 3)
    expected, where = NearestNeighbors(n_neighbors=3, metric="cosine").fit(features).kneighbors(features)
    np.testing.assert_array_equal(rows, where)
    np.testing.assert_allclose(scores, 1 - expected, atol=1e-5)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(TransferkitError, match=r"transferkit\[faiss\]', or embed\.index=null"):
        embed(tmp_path / "other", photos, "embed.index=faiss")
    assert not (tmp_path / "other").exists()
