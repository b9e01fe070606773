"""The neighbours shown are those that scikit-learn finds, with their own pictures."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

import transferkit as tk
from tests.report.conftest import MakeResult
from tests.report.html_page import Page
from transferkit.arrays import Features
from transferkit.backbones.backbone import Backbone
from transferkit.data.imagedata import ImageData
from transferkit.data.imageset import ImageSet
from transferkit.features.extract import extract_features
from transferkit.models.known_images import KnownImages
from transferkit.models.transfer_model import TransferModel
from transferkit.probes.neighbors import NeighborHead
from transferkit.report.examples import thumbnail, worst_mistakes
from transferkit.report.nearest import find_neighborhoods, show_neighborhoods
from transferkit.report.run_page import render_report
from transferkit.report.run_result import RunResult

NAMES = ["ant", "bee", "cat"]


def random_images(n: int, seed: int) -> ImageSet:
    rng = np.random.default_rng(seed)
    return ImageSet.from_arrays(rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8), rng.integers(0, 3, n))


@pytest.fixture(scope="module")
def data() -> ImageData:
    return ImageData("toys", NAMES, random_images(20, 0), random_images(9, 1), random_images(15, 2), "as given")


def extract(backbone: Backbone, images: ImageSet, stages: list[str], pool: str = "avg") -> dict[str, Features]:
    return extract_features(backbone, images, stages, pool=pool, cache=None, progress=False)


@pytest.fixture(scope="module")
def model(data: ImageData) -> TransferModel:
    backbone = tk.create_backbone("narrow_resnet10", "resnet_glyphs").truncate("stage3")
    rows = [torch.from_numpy(extract(backbone, part, ["stage3"])["stage3"]) for part in (data.train, data.val)]
    labels = torch.from_numpy(np.concatenate([data.train.labels, data.val.labels]))
    return TransferModel(backbone, NeighborHead(torch.cat(rows), labels, 3, k=3), NAMES).eval()


@pytest.fixture
def result(make_result: MakeResult, model: TransferModel, data: ImageData) -> RunResult:
    made = make_result(NAMES, test=data.test)
    hoods = find_neighborhoods(model, data, made.probabilities, extract)
    metrics = {**made.metrics, "k": 3, "metric": "l2", "stage": "stage3"}
    metrics["neighbors"] = [{"stage": "stage3", "metric": "l2", "k": 3, "val_top1": 0.5, "val_nll": 1.0}]
    return dataclasses.replace(made, neighborhoods=hoods, metrics=metrics)


def test_they_are_the_nearest_of_train_and_val(result: RunResult, model: TransferModel, data: ImageData) -> None:
    parts = [extract(model.backbone, part, ["stage3"])["stage3"] for part in (data.train, data.val, data.test)]
    search = NearestNeighbors(n_neighbors=5).fit(np.concatenate(parts[:2]))
    predicted = result.probabilities.argmax(axis=1)
    wrong = [hood for hood in result.neighborhoods if predicted[hood.index] != data.test.labels[hood.index]]
    assert 0 < len(wrong) < len(result.neighborhoods)
    for hood in result.neighborhoods:
        distances, rows = search.kneighbors(parts[2][hood.index : hood.index + 1])
        np.testing.assert_allclose([n.distance for n in hood.neighbors], distances[0], rtol=1e-4)
        assert [n.index for n in hood.neighbors] == rows[0].tolist()


def test_a_linear_model_has_those_of_the_images_it_compares_new_ones_with(
    make_result: MakeResult, model: TransferModel, data: ImageData
) -> None:
    linear = TransferModel(model.backbone, torch.nn.Linear(model.head.in_features, 3), NAMES).eval()
    compared = data.train.joined(data.val).subset(np.arange(0, 29, 2))
    made = make_result(NAMES, test=data.test)
    assert find_neighborhoods(linear, data, made.probabilities, extract, compared) == []
    rows, queries = (extract(model.backbone, part, ["stage3"])["stage3"] for part in (compared, data.test))
    linear.known = KnownImages(torch.from_numpy(rows), 0.5)
    hoods = find_neighborhoods(linear, data, made.probabilities, extract, compared)
    search = NearestNeighbors(n_neighbors=3, metric="cosine").fit(rows)
    assert [hood.index for hood in hoods] == worst_mistakes(data.test, made.probabilities, 12).tolist()
    for hood in hoods:
        distances, near = search.kneighbors(queries[hood.index : hood.index + 1])
        assert [n.index for n in hood.neighbors] == near[0].tolist()
        np.testing.assert_allclose([n.distance for n in hood.neighbors], distances[0], atol=1e-5)


def test_the_page_shows_their_pictures_and_classes(result: RunResult) -> None:
    page = Page(render_report(result))
    pictures = page.values("img", "src")
    for hood in result.neighborhoods:
        for neighbor in hood.neighbors:
            assert thumbnail(neighbor.images, neighbor.index)[0] in pictures
    labels = [alt for alt in page.values("img", "alt") if alt.startswith("Training image")]
    assert labels == [
        f"Training image, a {NAMES[neighbor.images.labels[neighbor.index]]}"
        for hood in result.neighborhoods
        for neighbor in hood.neighbors
    ]
    assert "3 neighbours vote" in page.text
    assert "3 nearest neighbours (l2), on stage3" in page.text
    assert len(page.tables["Neighbours tried"]) == 2


def test_those_of_the_same_class_are_told(result: RunResult) -> None:
    for (example, near), hood in zip(show_neighborhoods(result), result.neighborhoods, strict=True):
        for shown, neighbor in zip(near, hood.neighbors, strict=True):
            assert shown.same == (neighbor.images.labels[neighbor.index] == result.test.labels[hood.index])
            assert shown.same == (shown.label == example.true)


def test_other_models_have_none(data: ImageData, model: TransferModel, result: RunResult) -> None:
    linear = TransferModel(model.backbone, torch.nn.Linear(model.head.in_features, 3), NAMES)
    assert find_neighborhoods(linear, data, result.probabilities, extract) == []
