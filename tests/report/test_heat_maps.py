"""Heat maps against Grad-CAM written out by hand for a linear head on average pooling."""

import builtins
from base64 import b64decode
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import transferkit as tk
from transferkit.data.imageset import ImageSet
from transferkit.models.transfer_model import TransferModel
from transferkit.report.heat_maps import DARKEST, HOW_TO_GET, heat_maps, why_none


@pytest.fixture(scope="module")
def model() -> TransferModel:
    backbone = tk.create_backbone("narrow_resnet10", "resnet_glyphs").truncate("stage3")
    torch.manual_seed(0)
    return TransferModel(backbone, torch.nn.Linear(backbone.width("stage3"), 3), ["a", "b", "c"]).eval()


def test_bright_is_what_raised_the_score(model: TransferModel) -> None:
    rng = np.random.default_rng(0)
    images = ImageSet.from_arrays(rng.integers(100, 256, (2, 32, 32, 3), dtype=np.uint8), [0, 1])
    assert why_none(model) is None
    ((index, uri),) = heat_maps(model, images, [1])
    assert index == 1
    shown = np.asarray(Image.open(BytesIO(b64decode(uri.split(",")[1]))).convert("L"), dtype=float)
    inputs = model.preprocess(images.image(1))[None]
    with torch.no_grad():
        features = model.backbone.forward_stages(inputs, ["stage3"])["stage3"]
        weights = model.head.get_parameter("weight")[model(inputs).argmax()]
        # The gradient of a logit in a value of the map is the weight of its channel over the number of places.
        heat = (weights[:, None, None] * features[0]).sum(0).relu()[None, None]
    large = torch.nn.functional.interpolate(heat, inputs.shape[2:], mode="bilinear")[0, 0].numpy()
    gray = np.asarray(images.image(1).convert("L"), dtype=float)
    expected = gray * (DARKEST + (1 - DARKEST) * large / large.max())
    assert np.corrcoef(shown.ravel(), expected.ravel())[0, 1] > 0.97  # JPEG


def test_small_maps_and_other_heads_have_none(model: TransferModel) -> None:
    backbone = tk.create_backbone("narrow_resnet10", "resnet_glyphs").truncate("stage5")  # one place at 32 pixels
    assert why_none(TransferModel(backbone, torch.nn.Linear(backbone.width("stage5"), 3), ["a", "b", "c"])) == ""


def test_without_captum_the_report_says_how_to_get_it(model: TransferModel, monkeypatch: pytest.MonkeyPatch) -> None:
    found = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("captum"):
            raise ImportError(name)
        return found(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert why_none(model) == HOW_TO_GET
