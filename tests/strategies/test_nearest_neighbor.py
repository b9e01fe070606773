"""Nearest neighbours as a strategy: the choice is the best on val, and scikit-learn classifies as the model does."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

import transferkit as tk
from tests.conftest import compose_settings
from tests.strategies.contexts import make_context
from transferkit.data.imagedata import ImageData
from transferkit.errors import TransferkitError
from transferkit.features.extract import extract_features
from transferkit.features.from_settings import make_extractor
from transferkit.models.protocols import center_probabilities
from transferkit.models.transfer_model import load_model, save_model
from transferkit.strategies.fitted import Fitted
from transferkit.strategies.nearest_neighbor import fit_neighbors

METRICS = {"l2": "euclidean", "cosine": "cosine"}


def settings(**changes: Any) -> dict[str, Any]:
    composed = compose_settings("nearest_neighbor", "selection=val")
    composed["strategy"]["neighbors"] |= changes
    return composed


@pytest.fixture(scope="module")
def data() -> ImageData:
    return tk.load_data({"kind": "digits", "name": "digits", "per_class": 30, "max_test": 200}, seed=0)


@pytest.fixture(scope="module")
def features(data: ImageData) -> dict[str, np.ndarray]:
    backbone = tk.create_backbone("narrow_resnet10", "resnet_glyphs")
    return {
        name: extract_features(backbone, images, ["stage5"], cache=None)["stage5"]
        for name, images in data.splits.items()
    }


def fit(data: ImageData, **changes: Any) -> Fitted:
    backbone = tk.create_backbone("narrow_resnet10", "resnet_glyphs")
    return fit_neighbors(make_context(backbone, data, settings(**changes)))


@pytest.fixture(scope="module")
def fitted(data: ImageData) -> Fitted:
    return fit(data)


def test_metric_and_k_are_the_best_on_val(fitted: Fitted, data: ImageData, features: dict[str, np.ndarray]) -> None:
    rows = fitted.details["neighbors"]
    assert [(row["metric"], row["k"]) for row in rows] == [(m, k) for m in METRICS for k in (1, 3, 5, 10, 20)]
    for row in rows:
        reference = KNeighborsClassifier(row["k"], metric=METRICS[row["metric"]]).fit(
            features["train"], data.train.labels
        )
        ties = 0.0 if row["k"] == 1 else 0.05  # scikit-learn gives equal votes to the first class
        assert row["val_top1"] == pytest.approx(reference.score(features["val"], data.val.labels), abs=ties + 1e-9)
    best = max(rows, key=lambda row: (row["val_top1"], -row["val_nll"]))
    assert (fitted.details["k"], fitted.details["metric"]) == (best["k"], best["metric"])
    assert fitted.stages["stage5"] == {key: best[key] for key in ("k", "metric", "val_top1", "val_nll")} | {
        "features": features["val"].shape[1]
    }
    assert (fitted.val.argmax(axis=1) == data.val.labels).mean() == pytest.approx(best["val_top1"])


def test_the_gallery_is_train_and_val(
    fitted: Fitted, data: ImageData, features: dict[str, np.ndarray], tmp_path: Path
) -> None:
    reference = KNeighborsClassifier(fitted.details["k"], metric=METRICS[fitted.details["metric"]])
    reference.fit(
        np.concatenate([features["train"], features["val"]]), np.concatenate([data.train.labels, data.val.labels])
    )
    save_model(tmp_path, fitted.model)
    model = load_model(tmp_path)
    probabilities = center_probabilities(model, data.test, make_extractor(settings()))
    agreement = (probabilities.argmax(axis=1) == reference.predict(features["test"])).mean()
    assert agreement > 0.98  # but for ties
    predictions = model.predict([data.test.image(i) for i in range(30)])
    assert [p.label for p in predictions] == [data.class_names[i] for i in probabilities[:30].argmax(axis=1)]
    assert fitted.trainable_parameters == 0


def test_one_of_several_stages(data: ImageData) -> None:
    fitted = fit(data, stages=["stage1", "stage4"], ks=[1])
    assert list(fitted.stages) == ["stage1", "stage4"]
    best = max(fitted.stages, key=lambda stage: fitted.stages[stage]["val_top1"])
    assert fitted.details["stage"] == best
    assert fitted.model.backbone.stage_names[-1] == best


def test_what_cannot_be_is_refused(data: ImageData) -> None:
    with pytest.raises(TransferkitError, match=r"ks=\[5000\].*only 240 images"):
        fit(data, ks=[5000])
    with pytest.raises(TransferkitError, match="l1"):
        fit(data, metrics=["l1"])
    augment = {"name": "flip_crop", "transforms": {"horizontal_flip": {}}}
    backbone = tk.create_backbone("narrow_resnet10", "resnet_glyphs")
    with pytest.raises(TransferkitError, match="augment=none"):
        fit_neighbors(make_context(backbone, data, settings() | {"augment": augment}))
