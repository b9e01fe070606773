import io
import pickle
from typing import Any

import numpy as np
import pytest
import timm
import timm.data
import torch
import torchvision
from PIL import Image

from transferkit.backbones import from_timm, from_torchvision
from transferkit.data.preprocess import Preprocessing
from transferkit.errors import TransferkitError


def same(got: torch.Tensor, expected: torch.Tensor) -> None:
    """The same pixels: of 255 levels not one differs; what is left is the rounding of products."""
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6 * float(expected.abs().max()))


@pytest.fixture(scope="module", params=[(333, 501), (640, 427)], ids=["wide", "tall"])
def photo(request):
    """A decoded JPEG with edges and texture, of odd size."""
    height, width = request.param
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / 7 + y / 31), np.cos(x * y / 4000), np.sin((x - y) / 3)], axis=-1)
    pixels = np.clip(127 + 90 * waves + rng.normal(0, 15, waves.shape), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return Image.open(file).convert("RGB")


TORCHVISION = [
    ("resnet50", "IMAGENET1K_V1"),
    ("resnet50", "IMAGENET1K_V2"),
    ("vgg16", "IMAGENET1K_FEATURES"),
    ("efficientnet_b0", "IMAGENET1K_V1"),
    ("efficientnet_b3", "IMAGENET1K_V1"),
    ("inception_v3", "IMAGENET1K_V1"),
]


@pytest.mark.parametrize(("name", "weight"), TORCHVISION)
def test_equals_torchvisions_own_transform(photo, name, weight):
    entry = torchvision.models.get_model_weights(name)[weight]
    same(from_torchvision.preprocessing(entry)(photo), entry.transforms()(photo))


TIMM = [
    "resnet18.a1_in1k",  # bicubic, crop_pct 0.95: 224 / 0.95 is rounded down
    "convnext_tiny.fb_in1k",
    "mobilenetv2_100.ra_in1k",
    "efficientnet_b0.ra_in1k",
    "nasnetalarge.tf_in1k",  # 331 px, mean and std 0.5
    "convnext_base.fb_in22k_ft_in1k_384",  # squashed, not cropped
]


@pytest.mark.parametrize("name", TIMM)
def test_equals_timms_own_transform(photo, name):
    config = timm.get_pretrained_cfg(name).to_dict()
    reference = timm.data.create_transform(**timm.data.resolve_data_config(pretrained_cfg=config))
    same(from_timm.preprocessing(config)(photo), reference(photo))


def test_overrides_equal_timms_own_transform(photo):
    config = timm.get_pretrained_cfg("resnet18.a1_in1k").to_dict()
    changes: dict[str, Any] = {
        "mean": (0.5, 0.4, 0.3),
        "std": (0.2, 0.3, 0.4),
        "interpolation": "bilinear",
        "crop_pct": 0.9,
    }
    for height, width in [(160, 160), (192, 160)]:
        reference = timm.data.create_transform((3, height, width), **changes)
        ours = from_timm.preprocessing(config).override(**changes, input_size=[height, width])
        same(ours(photo), reference(photo))


def test_a_new_input_size_keeps_the_proportion_of_the_crop():
    assert Preprocessing().override(input_size=112).resize_size == (128, 128)
    assert Preprocessing(crop_pct=300 / 320, input_size=(300, 300)).override(input_size=300).resize_size == (320, 320)


def test_one_number_stands_for_all_channels_and_other_modes_become_rgb():
    preprocess = Preprocessing().override(mean=0.5, std=0.25)
    assert preprocess.mean == (0.5, 0.5, 0.5)
    gray = Image.new("L", (1, 1), 255)
    same(preprocess(gray), torch.full((3, 224, 224), 2.0))


def test_an_extremely_long_image_costs_no_more_than_its_middle():
    strip = np.zeros((2, 100_000, 3), dtype=np.uint8)
    strip[:, 50_000:] = 255
    tensor = Preprocessing(mean=(0, 0, 0), std=(1, 1, 1))(Image.fromarray(strip))
    assert tensor.shape == (3, 224, 224)
    assert tensor[:, :, 0].max() == 0
    assert tensor[:, :, -1].min() == 1


def test_pickles_and_survives_json(photo):
    preprocess = Preprocessing().override(input_size=[64, 96], interpolation="bicubic", mean=0.5)
    assert pickle.loads(pickle.dumps(preprocess)) == preprocess
    assert Preprocessing.from_dict(preprocess.to_dict()) == preprocess


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mean", [0.5, 0.5]),
        ("mean", "gray"),
        ("std", 0),
        ("std", [0.2, float("nan"), 0.2]),
        ("input_size", 0),
        ("input_size", [224, 224, 3]),
        ("input_size", 22.4),
        ("interpolation", "bicubical"),
        ("crop_pct", 1.5),
        ("crop_pct", 0),
    ],
)
def test_unusable_overrides_name_their_key(key, value):
    with pytest.raises(TransferkitError, match=rf"backbone\.{key}=.* must be "):
        Preprocessing().override(**{key: value})


def test_damaged_preprocessing_is_refused():
    with pytest.raises(TransferkitError, match="preprocessing"):
        Preprocessing.from_dict({"mean": [0.5]})


def test_pixels_come_back_from_normalised_ones():
    how = Preprocessing(input_size=(4, 4), resize_size=(4, 4))
    pixels = torch.arange(2 * 3 * 16, dtype=torch.uint8).reshape(2, 3, 4, 4)
    torch.testing.assert_close(how.denormalize(how.normalize(pixels)), pixels.float(), atol=1e-3, rtol=0)
