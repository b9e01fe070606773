"""Attention roll-out against timm's own extraction of attention and a plain loop in numpy."""

from base64 import b64decode
from io import BytesIO

import numpy as np
import pytest
import timm
import timm.layers
import torch
from PIL import Image
from timm.utils import AttentionExtract

import transferkit as tk
from transferkit.data.imageset import ImageSet
from transferkit.models.transfer_model import TransferModel
from transferkit.report.attention import attention_layers, roll_out
from transferkit.report.heat_maps import DARKEST, ROLL_OUT, heat_map_method, heat_maps, why_none

SIZE = {"img_size": [64, 64]}


def made_model(name: str, **kwargs: object) -> TransferModel:
    torch.manual_seed(0)
    backbone = tk.create_backbone(name, None, "timm", kwargs=kwargs)
    backbone = backbone.truncate(backbone.top)
    return TransferModel(backbone, torch.nn.Linear(backbone.width(backbone.top), 3), ["a", "b", "c"]).eval()


@pytest.fixture(scope="module")
def model() -> TransferModel:
    made = made_model("vit_tiny_patch16_224", **SIZE)
    with torch.no_grad():
        for layer in attention_layers(made):
            layer.get_parameter("qkv.weight").mul_(30)  # random weights attend to everything alike
    return made


def test_roll_out_is_the_product_of_the_layers(model: TransferModel) -> None:
    inputs = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    before = [layer.fused_attn for layer in attention_layers(model)]
    found = roll_out(model, inputs)
    assert found is not None
    assert found.shape == (4, 4)
    assert [layer.fused_attn for layer in attention_layers(model)] == before

    timm.layers.set_fused_attn(False)
    try:
        original = timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=0).eval()
    finally:
        timm.layers.set_fused_attn(True)
    original.load_state_dict(model.backbone.original_state_dict(), strict=True)
    with torch.no_grad():
        attention = AttentionExtract(original, method="hook")(inputs)
    flow = np.eye(17)
    for one in attention.values():
        layer = 0.5 * one[0].numpy().mean(axis=0) + 0.5 * np.eye(17)
        flow = layer / layer.sum(axis=1, keepdims=True) @ flow
    np.testing.assert_allclose(found.numpy().ravel(), flow[0, 1:], rtol=1e-4)


def test_the_mean_over_tokens_where_the_head_takes_it(model: TransferModel) -> None:
    averaged = TransferModel(model.backbone, model.head, ["a", "b", "c"], pool="avg").eval()
    inputs = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    first, mean = roll_out(model, inputs), roll_out(averaged, inputs)
    assert first is not None
    assert mean is not None
    assert not torch.allclose(first, mean)
    assert float(mean.sum()) < 1  # the rest came from the class token


def test_a_transformer_has_heat_maps_of_its_attention(model: TransferModel) -> None:
    assert heat_map_method(model) == ROLL_OUT
    assert why_none(model) is None
    images = ImageSet.from_arrays(np.random.default_rng(0).integers(100, 256, (1, 64, 64, 3), dtype=np.uint8), [0])
    ((index, uri),) = heat_maps(model, images, [0])
    assert index == 0
    shown = np.asarray(Image.open(BytesIO(b64decode(uri.split(",")[1]))).convert("L"), dtype=float)
    inputs = model.preprocess(images.image(0))[None]
    found = roll_out(model, inputs)
    assert found is not None
    large = torch.nn.functional.interpolate(found[None, None], (64, 64), mode="bilinear")[0, 0]
    pixels = model.preprocess.denormalize(inputs[0]).permute(1, 2, 0).numpy()
    gray = np.asarray(Image.fromarray(pixels.round().astype(np.uint8)).convert("L"), dtype=float)
    expected = gray * (DARKEST + (1 - DARKEST) * (large / large.max()).numpy())
    assert np.corrcoef(shown.ravel(), expected.ravel())[0, 1] > 0.95  # JPEG


def test_windows_and_hidden_attention_have_none() -> None:
    assert heat_map_method(made_model("cait_xxs24_224")) == ""  # its last layers attend from the class alone
