"""The probe as a model: the head gives the probe's probabilities, and scikit-learn agrees."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import transferkit as tk
from tests.conftest import compose_settings
from tests.strategies.contexts import make_context
from transferkit.backbones.backbone import Backbone
from transferkit.data.imagedata import ImageData
from transferkit.errors import TransferkitError
from transferkit.features.from_settings import make_extractor
from transferkit.models.protocols import center_probabilities, head_outputs
from transferkit.models.transfer_model import save_model
from transferkit.probes.scaling import ShrunkScaler
from transferkit.strategies.fitted import Fitted
from transferkit.strategies.frozen_features import probe_stages
from transferkit.strategies.stage_probe import fit_probes
from transferkit.targets.class_target import ClassTarget

CS = [0.001, 0.1, 10.0]


def settings() -> dict[str, Any]:
    return compose_settings("linear_probe", f"strategy.probe.Cs={CS}", "selection=val")


@pytest.fixture(scope="module")
def data() -> ImageData:
    return tk.load_data({"kind": "digits", "name": "digits", "per_class": 20, "max_test": 200}, seed=0)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    torch.manual_seed(0)
    return tk.create_backbone("resnet18", weights=None, input_size=32)


@pytest.fixture(scope="module")
def fitted(backbone: Backbone, data: ImageData) -> Fitted:
    return fit_probes(make_context(backbone, data, settings()))


@pytest.fixture(scope="module")
def probabilities(fitted: Fitted, data: ImageData) -> np.ndarray:
    return center_probabilities(fitted.model, data.test, make_extractor(settings()))


def features(backbone: Backbone, data: ImageData) -> dict[str, np.ndarray]:
    return {
        name: tk.extract_features(backbone, images, ["stage5"], cache=None)["stage5"]
        for name, images in data.splits.items()
    }


def test_scikit_learn_agrees_for_the_same_C(
    fitted: Fitted, probabilities: np.ndarray, backbone: Backbone, data: ImageData
) -> None:
    x = features(backbone, data)
    C = fitted.stages["stage5"]["C"]
    reference = make_pipeline(ShrunkScaler(), LogisticRegression(C=C, max_iter=2000, tol=1e-6))
    reference.fit(x["train"], data.train.labels)
    assert fitted.stages["stage5"]["val_top1"] == reference.score(x["val"], data.val.labels)
    both = np.concatenate([x["train"], x["val"]]), np.concatenate([data.train.labels, data.val.labels])
    reference.fit(*both)
    accuracy = float((probabilities.argmax(axis=1) == data.test.labels).mean())
    assert accuracy == pytest.approx(reference.score(x["test"], data.test.labels), abs=0.005)
    np.testing.assert_allclose(probabilities, reference.predict_proba(x["test"]), atol=0.02)


def test_C_is_the_best_on_val(fitted: Fitted) -> None:
    sweep = fitted.sweep["stage5"]
    assert [row["C"] for row in sweep] == CS
    best = max(sweep, key=lambda row: (row["val_top1"], -row["val_nll"]))
    assert fitted.stages["stage5"]["C"] == best["C"]


def test_val_is_reported_before_the_refit(fitted: Fitted, data: ImageData) -> None:
    accuracy = (fitted.val.argmax(axis=1) == data.val.labels).mean()
    assert accuracy == pytest.approx(fitted.stages["stage5"]["val_top1"])


@torch.no_grad()
def test_the_loaded_model_predicts_what_the_probe_does(
    fitted: Fitted, backbone: Backbone, data: ImageData, tmp_path: Path
) -> None:
    x = features(backbone, data)
    probe = tk.LinearProbe(Cs=CS).fit(x["train"], data.train.labels, x["val"], data.val.labels)
    expected = probe.predict_proba(x["test"])
    save_model(tmp_path, fitted.model)
    model = tk.load_model(tmp_path)
    images = [data.test.image(i) for i in range(len(data.test))]
    predictions = model.predict(images)
    np.testing.assert_allclose(np.stack([p.probabilities for p in predictions]), expected, atol=1e-3)
    assert [p.label for p in predictions] == [data.class_names[i] for i in expected.argmax(axis=1)]


def test_outputs_of_a_head_are_a_soft_max() -> None:
    head = torch.nn.Linear(3, 2)
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    expected = torch.softmax(head(torch.from_numpy(x)), dim=1).detach().numpy()
    np.testing.assert_allclose(head_outputs(head, ClassTarget(()), x), expected, atol=1e-6)


def test_which_stage_is_probed(backbone: Backbone) -> None:
    assert probe_stages(backbone, stages("top")) == ["stage5"]
    assert probe_stages(backbone, stages("stage3")) == ["stage3"]
    with pytest.raises(TransferkitError, match="stage9"):
        probe_stages(backbone, stages("stage9"))
    with pytest.raises(TransferkitError, match="takes one: use strategy=stage_probe"):
        probe_stages(backbone, stages("stage*"))
    assert probe_stages(backbone, stages("stage[45]") | {"combine": "best"}) == ["stage4", "stage5"]


def stages(pattern: str) -> dict[str, Any]:
    strategy: dict[str, Any] = settings()["strategy"]
    return {**strategy, "probe": {**strategy["probe"], "stages": [pattern]}}


def test_vgg_is_probed_at_fc7(data: ImageData) -> None:
    backbone = tk.create_backbone("vgg11", weights=None, input_size=32)
    assert probe_stages(backbone, stages("top")) == ["fc7"]


def test_the_backbone_is_left_as_it_was(backbone: Backbone, data: ImageData) -> None:
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    fit_probes(make_context(backbone, data, settings()))
    assert all(torch.equal(before[name], tensor) for name, tensor in backbone.state_dict().items())
