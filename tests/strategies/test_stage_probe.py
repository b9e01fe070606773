"""Probes at every stage: the best by val is the model, and scikit-learn sees the same order of the stages."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import transferkit as tk
from tests.conftest import compose_settings
from tests.strategies.contexts import make_context
from transferkit.data.imagedata import ImageData
from transferkit.errors import TransferkitError
from transferkit.features.extract import ExtractionStats, extract_features
from transferkit.features.from_settings import make_extractor
from transferkit.models.protocols import center_probabilities
from transferkit.models.transfer_model import load_model, save_model
from transferkit.probes.scaling import ShrunkScaler
from transferkit.strategies.fitted import Fitted
from transferkit.strategies.stage_probe import fit_probes

CS = [0.01, 0.1, 1.0]
STAGES = ["stage1", "stage2", "stage3", "stage4", "stage5"]


def settings(**changes: Any) -> dict[str, Any]:
    composed = compose_settings("stage_probe", "selection=val", f"strategy.probe.Cs={CS}")
    probe = composed["strategy"]["probe"] | changes.get("probe", {})
    composed["strategy"] |= changes | {"probe": probe}
    return composed


@pytest.fixture(scope="module")
def data() -> ImageData:
    return tk.load_data({"kind": "glyphs", "name": "glyphs", "classes": 40, "per_class": 20}, seed=0)


def fit(data: ImageData, weights: str, **changes: Any) -> Fitted:
    return fit_probes(make_context(tk.create_backbone("narrow_resnet10", weights), data, settings(**changes)))


@pytest.fixture(scope="module")
def similar(data: ImageData) -> Fitted:
    """Glyphs through a network trained on glyphs."""
    return fit(data, "resnet_glyphs")


@pytest.fixture(scope="module")
def different(data: ImageData) -> Fitted:
    """Glyphs through a network trained on fractals, with some of the places kept."""
    return fit(data, "resnet_fractals", pool="grid2")


def scores(data: ImageData, weights: str, pool: str) -> dict[str, float]:
    """The best accuracy on val over the values of C, by scikit-learn alone."""
    backbone = tk.create_backbone("narrow_resnet10", weights)
    x = {
        name: extract_features(backbone, images, STAGES, pool=pool, cache=None)
        for name, images in (("train", data.train), ("val", data.val))
    }
    best = {}
    for stage in STAGES:
        fits = [
            make_pipeline(ShrunkScaler(), LogisticRegression(C=C, max_iter=500))
            .fit(x["train"][stage], data.train.labels)
            .score(x["val"][stage], data.val.labels)
            for C in CS
        ]
        best[stage] = max(fits)
    return best


def test_the_best_stage_is_the_last_where_the_domain_is_the_same(data: ImageData, similar: Fitted) -> None:
    assert similar.details["stage"] == "stage5"
    assert similar.model.backbone.stage_names[-1] == "stage5"
    expected = scores(data, "resnet_glyphs", "avg")
    assert expected["stage5"] > expected["stage4"] + 0.02
    assert {stage: row["val_top1"] for stage, row in similar.stages.items()} == pytest.approx(expected, abs=0.02)


def test_the_best_stage_is_an_early_one_where_the_domain_is_another(data: ImageData, different: Fitted) -> None:
    assert different.details["stage"] == "stage1"
    expected = scores(data, "resnet_fractals", "grid2")
    assert expected["stage1"] > expected["stage5"] + 0.1
    assert {stage: row["val_top1"] for stage, row in different.stages.items()} == pytest.approx(expected, abs=0.02)


def test_the_model_ends_with_its_stage_and_is_fitted_to_train_and_val(
    data: ImageData, different: Fitted, tmp_path: Path
) -> None:
    assert different.model.backbone.stage_names == ("stage1",)
    save_model(tmp_path, different.model)
    model = load_model(tmp_path)
    assert (model.stages, model.pool) == (["stage1"], "grid2")
    backbone = tk.create_backbone("narrow_resnet10", "resnet_fractals")
    x = {
        name: extract_features(backbone, images, ["stage1"], pool="grid2", cache=None)["stage1"]
        for name, images in data.splits.items()
    }
    reference = make_pipeline(
        ShrunkScaler(), LogisticRegression(C=different.stages["stage1"]["C"], tol=1e-6, max_iter=3000)
    )
    reference.fit(np.concatenate([x["train"], x["val"]]), np.concatenate([data.train.labels, data.val.labels]))
    probabilities = center_probabilities(model, data.test, make_extractor(settings()))
    np.testing.assert_allclose(probabilities, reference.predict_proba(x["test"]), atol=0.02)
    predictions = model.predict([data.test.image(i) for i in range(20)])
    np.testing.assert_allclose(np.stack([p.probabilities for p in predictions]), probabilities[:20], atol=1e-4)


def test_val_is_reported_before_the_refit(data: ImageData, similar: Fitted) -> None:
    accuracy = float((similar.val.argmax(axis=1) == data.val.labels).mean())
    assert accuracy == pytest.approx(similar.stages["stage5"]["val_top1"])


def test_every_stage_has_its_figures_and_its_sweep(data: ImageData, similar: Fitted) -> None:
    assert list(similar.stages) == list(similar.sweep) == STAGES
    for stage, row in similar.stages.items():
        assert set(row) == {"C", "val_top1", "val_nll", "features", "classifier"}
        assert [point["C"] for point in similar.sweep[stage]] == CS
    selection = {"by": "val", "images": len(data.val)}
    expected = {"stage": "stage5", "solver": "exact", "pool": "avg", "classifier": "logistic", "selection": selection}
    assert similar.details == expected


def test_all_stages_come_from_one_pass(data: ImageData) -> None:
    context = make_context(tk.create_backbone("narrow_resnet10", "resnet_glyphs"), data, settings())
    passes: list[ExtractionStats] = []

    def extract(backbone: Any, images: Any, stages: list[str], pool: str = "avg") -> Any:
        passes.append(ExtractionStats())
        return extract_features(backbone, images, stages, pool=pool, cache=None, stats=passes[-1])

    fit_probes(type(context)(**{**vars(context), "extract": extract}))
    assert [stats.loaded for stats in passes] == [len(data.train), len(data.val)]
    assert passes[0].forwarded == dict.fromkeys(STAGES, len(data.train))


def test_all_stages_together(data: ImageData) -> None:
    fitted = fit(data, "resnet_glyphs", combine="concat", probe={"stages": ["stage3", "stage5"], "Cs": CS})
    assert fitted.details["stage"] == "stage3+stage5"
    assert fitted.model.stages == ["stage3", "stage5"]
    backbone = tk.create_backbone("narrow_resnet10", "resnet_glyphs")
    x = [
        np.concatenate(list(extract_features(backbone, images, ["stage3", "stage5"], cache=None).values()), axis=1)
        for images in (data.train, data.val)
    ]
    (figures,) = fitted.stages.values()
    assert figures["features"] == x[0].shape[1]
    reference = make_pipeline(ShrunkScaler(), LogisticRegression(C=figures["C"], max_iter=2000))
    expected = reference.fit(x[0], data.train.labels).score(x[1], data.val.labels)
    assert figures["val_top1"] == pytest.approx(expected, abs=0.013)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pool": "grid5"}, "grid5"),
        ({"probe": {"stages": ["fc*"], "Cs": CS}}, r"strategy\.probe\.stages: fc\* matches no stage"),
    ],
)
def test_settings_that_cannot_be_used(data: ImageData, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TransferkitError, match=message):
        fit(data, "resnet_glyphs", **changes)


def test_augmentation_is_not_silently_ignored(data: ImageData) -> None:
    backbone = tk.create_backbone("narrow_resnet10", "resnet_glyphs")
    augment = {"name": "flip_crop", "transforms": {"horizontal_flip": {}}}
    with pytest.raises(TransferkitError, match=r"augment=flip_crop.*strategy\.solver=gradient"):
        fit_probes(make_context(backbone, data, settings() | {"augment": augment}))
    switched_off = {"name": "flip_crop", "transforms": {"horizontal_flip": None}}
    one = settings(probe={"stages": ["stage1"], "Cs": [1.0]}) | {"augment": switched_off}
    assert fit_probes(make_context(backbone, data, one)).details["stage"] == "stage1"
