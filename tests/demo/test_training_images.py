"""The nearest training images against scikit-learn, and the reasons why there are none."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

import transferkit as tk
from tests.conftest import Run
from transferkit.demo import training_images
from transferkit.demo.training_images import TrainingImages, find_training_images, search
from transferkit.models.transfer_model import TransferModel, load_model
from transferkit.probes.neighbors import NeighborHead


@pytest.fixture(scope="module")
def model(default_run: Run) -> TransferModel:
    return load_model(default_run.folder)


def test_they_are_the_nearest_by_cosine(default_run: Run, model: TransferModel) -> None:
    found = find_training_images(default_run.folder, model)
    assert isinstance(found, TrainingImages)
    assert model.known is not None
    assert len(found.images) == len(model.known.rows)
    data = tk.load_data({"kind": "digits", "name": "digits"}, seed=0)
    rows, asked = (
        tk.extract_features(model.backbone, images, ["stage5"], cache=None, progress=False)["stage5"]
        for images in (found.images, data.test.subset(range(20)))
    )
    expected, where = NearestNeighbors(n_neighbors=5, metric="cosine").fit(np.array(rows)).kneighbors(np.array(asked))
    for i in range(20):
        inputs = model.preprocess(data.test.image(i))[None]
        distances, _ = search(model, model.features(inputs), 5)
        np.testing.assert_allclose(distances[0].detach().numpy(), expected[i], atol=1e-4)
        near = found.nearest(model, inputs)
        assert [one.label for one in near] == [str(found.images.labels[row]) for row in where[i]]
        assert all(one.picture for one in near)


def test_votes_are_shown_with_the_images_that_cast_them(default_run: Run, model: TransferModel) -> None:
    data = tk.load_data({"kind": "digits", "name": "digits"}, seed=0)
    both = data.train.joined(data.val)
    rows = tk.extract_features(model.backbone, both, ["stage5"], cache=None, progress=False)["stage5"]
    head = NeighborHead(torch.from_numpy(np.array(rows)), torch.from_numpy(both.labels), 10, k=5)
    voting = TransferModel(model.backbone, head, model.class_names).eval()
    found = find_training_images(default_run.folder, voting)
    assert isinstance(found, TrainingImages)
    near = found.nearest(voting, voting.preprocess(both.image(7))[None])
    assert near[0].distance == pytest.approx(0, abs=1e-3)
    assert near[0].label == str(both.labels[7])


@pytest.mark.parametrize(
    ("notes", "told"),
    [
        ({}, "does not say which images"),
        ({"dataset": {"kind": "folder", "name": "x", "root": "/nowhere/photos"}, "seed": 0}, "cannot be read"),
        ({"dataset": {"kind": "digits", "name": "digits", "per_class": 3}, "seed": 0}, "have changed"),
        ({"dataset": {"kind": "digits", "name": "digits"}, "seed": 5}, "have changed"),
    ],
)
def test_the_reason_why_there_are_none(
    default_run: Run, model: TransferModel, monkeypatch: pytest.MonkeyPatch, notes: dict[str, Any], told: str
) -> None:
    monkeypatch.setattr(training_images, "read_notes", lambda _: notes)
    found = find_training_images(default_run.folder, model)
    assert isinstance(found, str)
    assert told in found


def test_an_artifact_alone_has_none(default_run: Run, model: TransferModel, tmp_path: Path) -> None:
    for name in ("model.json", "model.safetensors"):
        shutil.copy(default_run.folder / name, tmp_path / name)
    assert "does not say which images" in str(find_training_images(tmp_path, model))
