"""The parts from held-out images, from a fit on digits to the cells of predictions.csv."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import transferkit as tk
from tests.conftest import compose_settings
from tests.strategies.contexts import make_context
from transferkit.cli.predict import format_prediction
from transferkit.data.imagedata import ImageData
from transferkit.errors import TransferkitError
from transferkit.models.transfer_model import TransferModel, load_model, save_model
from transferkit.report.top5 import split_names
from transferkit.strategies.held_out import add_held_out_parts
from transferkit.strategies.registry import fit_strategy


@pytest.fixture(scope="module")
def data() -> ImageData:
    return tk.load_data({"kind": "digits", "name": "digits", "per_class": 20, "max_test": 300}, seed=0)


@pytest.fixture(scope="module")
def fitted_model(data: ImageData) -> TransferModel:
    backbone = tk.create_backbone("narrow_resnet10", "resnet_glyphs", input_size=32, mean=0.5, std=0.25, crop_pct=1.0)
    context = make_context(backbone, data, compose_settings("linear_probe", "selection.repeats=1"))
    fitted = add_held_out_parts(context, fit_strategy(context))
    assert fitted.details["known"]["images"] == 200
    assert set(fitted.details) >= {"known", "calibration"}
    return fitted.model


def test_test_images_are_known_and_noise_is_not(fitted_model: TransferModel, data: ImageData, tmp_path: Path) -> None:
    save_model(tmp_path, fitted_model)
    model = load_model(tmp_path)
    found = model.predict([data.test.image(i) for i in range(len(data.test))], coverage=0.9)
    assert 0.88 <= np.mean([p.known for p in found]) <= 1
    names = [model.class_names[label] for label in data.test.labels]
    covered = np.mean([name in (p.classes or ()) for name, p in zip(names, found, strict=True)])
    assert covered >= 0.9 - 3 * np.sqrt(0.09 / 200)
    noise = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    strange = model.predict([Image.fromarray(pixels) for pixels in noise])
    assert not any(p.known for p in strange)
    assert min(p.distance or 0 for p in strange) > np.median([p.distance or 0 for p in found])
    cells = format_prediction(found[0])
    assert cells[2:4] == ["true" if found[0].known else "false", f"{found[0].distance:.6f}"]
    assert tuple(split_names(cells[4])) == found[0].classes
    assert len(cells) == 5 + 10


def test_an_artifact_without_them_has_neither(fitted_model: TransferModel, tmp_path: Path) -> None:
    bare = TransferModel(fitted_model.backbone, fitted_model.head, fitted_model.class_names).eval()
    save_model(tmp_path, bare)
    model = load_model(tmp_path)
    prediction = model.predict([torch.zeros(3, 32, 32)])[0]
    assert (prediction.known, prediction.distance, prediction.classes) == (None, None, None)
    assert len(format_prediction(prediction)) == 2 + 10
    with pytest.raises(TransferkitError, match="coverage"):
        model.predict([torch.zeros(3, 32, 32)], coverage=0.9)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("known", {"rows": 3, "in_features": 64, "threshold": 0.1}, "known"),
        ("known", {"rows": 200, "in_features": 64, "threshold": -1.0}, "known.threshold"),
        ("held_out_scores", 7, "held_out"),
        ("held_out_scores", None, "held_out"),
    ],
)
def test_a_damaged_description_is_noticed(
    fitted_model: TransferModel, tmp_path: Path, key: str, value: object, told: str
) -> None:
    save_model(tmp_path, fitted_model)
    metadata = json.loads((tmp_path / "model.json").read_text())
    for name in ("weights_sha256", "metadata_sha256"):
        del metadata[name]
    (tmp_path / "model.json").write_text(json.dumps({**metadata, "format": 1, key: value}))
    with pytest.raises(TransferkitError, match=told):
        load_model(tmp_path)
