"""With few images: folds choose how far a plan is carried out, train and val are fitted; interrupted, it goes on."""

import dataclasses
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import transferkit as tk
from tests.strategies.contexts import make_context, short_settings
from transferkit.backbones.backbone import Backbone
from transferkit.data.imagedata import ImageData
from transferkit.folds import make_folds
from transferkit.metrics import at_temperature
from transferkit.strategies.finetune import fit_finetune
from transferkit.strategies.fitted import Fitted
from transferkit.strategies.fold_fits import whole_data
from transferkit.strategies.stops import choose_temperature
from transferkit.training.finetune_module import FinetuneModule


@pytest.fixture(scope="module")
def data() -> ImageData:
    return tk.load_data({"kind": "digits", "name": "digits", "per_class": 6, "max_test": 20}, seed=0)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return tk.create_backbone("narrow_resnet10", "resnet_glyphs")


def fit(backbone: Backbone, data: ImageData, folder: Path, *overrides: str, strategy: str = "finetune_few") -> Fitted:
    return fit_finetune(make_context(backbone, data, short_settings(strategy, *overrides), folder))


@pytest.fixture
def to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transferkit.strategies.fold_fits.choose_stop", lambda course, *_: len(course) - 1)


@pytest.mark.usefixtures("to_the_end")
def test_val_is_predicted_by_folds_and_the_model_is_fitted_to_all(
    backbone: Backbone, data: ImageData, tmp_path: Path
) -> None:
    fitted = fit(backbone, data, tmp_path / "cv", "selection=auto", "selection.finetune_folds=2")
    whole = whole_data(data)
    expected = np.zeros((len(whole.train), 10), dtype=np.float32)
    for number, (rows, held) in enumerate(make_folds(whole.train.labels, seed=0, splits=2)):
        part = dataclasses.replace(data, train=whole.train.subset(rows), val=whole.train.subset(held))
        expected[held] = fit(backbone, part, tmp_path / str(number), "selection=last").val
    temperature = choose_temperature(expected, whole.train.labels)
    np.testing.assert_allclose(fitted.val, at_temperature(expected, temperature)[len(data.train) :], atol=1e-4)
    everything = fit(backbone, whole, tmp_path / "all", "selection=last")
    for name, value in everything.model.state_dict().items():
        value = value / temperature if name.startswith("head.") else value
        assert torch.allclose(fitted.model.state_dict()[name], value, atol=1e-4), name
    top1 = (expected.argmax(1) == whole.train.labels).mean()
    assert fitted.history[-1]["val_top1"] == pytest.approx(top1)
    about = {"by": "cv", "images": 60, "folds": 2, "chosen": "epoch 2 of 2 of phase tail"}
    assert fitted.details["selection"] == about
    assert fitted.details["calibration"]["temperature"] == pytest.approx(temperature, abs=1e-3)
    assert fitted.details["finetuned"] is True


def test_where_training_does_harm_the_probes_head_is_kept(
    backbone: Backbone, data: ImageData, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        fitted = fit(backbone, data, tmp_path, "selection=cv", "selection.finetune_folds=2", "optimizer.lr_scale=300")
    assert "Not finetuned: the probe's head was kept" in caplog.text
    assert fitted.details["finetuned"] is False
    assert not fitted.history
    for name, value in fitted.model.backbone.state_dict().items():
        assert torch.equal(backbone.state_dict()[name], value), name


@pytest.mark.slow
@pytest.mark.usefixtures("to_the_end")
def test_interrupted_in_any_fold_it_ends_with_the_same_result(
    backbone: Backbone, data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides, train = ("selection=auto", "selection.finetune_folds=2"), FinetuneModule.training_step
    undisturbed = fit(backbone, data, tmp_path / "undisturbed", *overrides)
    # Two folds of two epochs of 30 // 16 = 1 step, then two epochs of 60 // 16 = 3 steps; the third killed step comes
    # after the two that are repeated.
    killed_at, steps = [2, 6, 11], 0

    def killed(self: Any, *batch: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps in killed_at:
            raise RuntimeError("killed")
        return train(self, *batch)

    monkeypatch.setattr(FinetuneModule, "training_step", killed)
    for _ in killed_at:
        with pytest.raises(RuntimeError, match="killed"):
            fit(backbone, data, tmp_path / "killed", *overrides)
    fitted = fit(backbone, data, tmp_path / "killed", *overrides)
    assert (fitted.val == undisturbed.val).all()
    assert fitted.history == undisturbed.history
    for name, value in undisturbed.model.state_dict().items():
        assert torch.equal(fitted.model.state_dict()[name], value), name


def test_a_warning_where_few_images_decide(
    backbone: Backbone, data: ImageData, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fit(backbone, data, tmp_path, "selection=val")
    assert "Only 10 images decide" in caplog.text
