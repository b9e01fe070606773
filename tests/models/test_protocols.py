"""Test protocols against plain loops over crops that torchvision makes."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms

import transferkit as tk
from tests.conftest import compose_settings
from transferkit.arrays import Probabilities
from transferkit.data.imageset import ImageSet
from transferkit.data.preprocess import Preprocessing
from transferkit.errors import TransferkitError
from transferkit.features.from_settings import make_extractor
from transferkit.models.protocols import ProtocolResult, run_protocols
from transferkit.models.transfer_model import TransferModel
from transferkit.models.views import at_scale, grid_crops, scales_in_pixels, ten_crops, whole_image
from transferkit.targets.target_kinds import make_target

VGG = Preprocessing()
"""Crops of 224 pixels at the scale 256."""


@pytest.fixture(scope="module")
def model() -> TransferModel:
    torch.manual_seed(0)
    backbone = tk.create_backbone("narrow_resnet10", weights="resnet_glyphs", crop_pct=0.8)
    return TransferModel(backbone, nn.Linear(192, 3), ["a", "b", "c"], ["stage5"]).eval()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    """Photographs of different shapes."""
    folder, generator = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    paths = [folder / f"{i}.png" for i in range(5)]
    for path, size in zip(paths, [(50, 60), (45, 45), (50, 60), (41, 90), (64, 48)], strict=True):
        Image.fromarray(generator.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
    return ImageSet.from_files(paths, [0, 1, 2, 0, 1])


def results(model: TransferModel, images: ImageSet, *overrides: str) -> dict[str, ProtocolResult]:
    settings: dict[str, Any] = compose_settings("linear_probe", *overrides)
    return run_protocols(settings, model, images, make_extractor(settings))


@torch.inference_mode()
def expected(model: TransferModel, images: ImageSet, transform: Any) -> Probabilities:
    """The mean probabilities of all views that `transform` makes of an image, image by image."""
    rows = [
        model(torch.stack(list(transform(image)))).softmax(1).mean(0).numpy()
        for image in map(images.image, range(len(images)))
    ]
    return np.stack(rows)


def as_input(model: TransferModel) -> Any:
    return transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize(model.preprocess.mean, model.preprocess.std)]
    )


def resize(side: int) -> Any:
    return transforms.Resize(side, antialias=True)


def test_ten_crop_is_torchvisions(model: TransferModel, images: ImageSet) -> None:
    transform = transforms.Compose(
        [resize(40), transforms.TenCrop(32), lambda crops: [as_input(model)(crop) for crop in crops]]
    )
    found = results(model, images, "protocol=ten_crop")["ten_crop"]
    np.testing.assert_allclose(found.probabilities, expected(model, images, transform), rtol=1e-4, atol=1e-6)
    assert found.views == 10


def test_multi_crop_is_a_plain_loop(model: TransferModel, images: ImageSet) -> None:
    def views(image: Image.Image) -> Any:
        for side in (35, 40, 45):
            whole = resize(side)(image)
            for row in np.linspace(0, whole.height - 32, 5).round().astype(int).tolist():
                for column in np.linspace(0, whole.width - 32, 5).round().astype(int).tolist():
                    crop = whole.crop((column, row, column + 32, row + 32))
                    yield as_input(model)(crop)
                    yield as_input(model)(crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT))

    found = results(model, images, "protocol=multi_crop")["multi_crop"]
    np.testing.assert_allclose(found.probabilities, expected(model, images, views), rtol=1e-4, atol=1e-6)
    assert found.views == 150


def test_dense_protocols_are_the_whole_image_and_its_mirror_image(model: TransferModel, images: ImageSet) -> None:
    def views(*sides: int) -> Any:
        def each(image: Image.Image) -> Any:
            for side in sides:
                whole = resize(side)(image)
                yield as_input(model)(whole)
                yield as_input(model)(whole.transpose(Image.Transpose.FLIP_LEFT_RIGHT))

        return each

    def mean(*sides: int) -> Probabilities:
        found: Probabilities = np.mean([expected(model, images, views(side)) for side in sides], axis=0)
        return found

    found = results(model, images, "protocol=[multi_crop_dense,dense,multi_scale,multi_crop]")
    assert list(found) == ["multi_crop_dense", "dense", "multi_scale", "multi_crop"]
    np.testing.assert_allclose(found["dense"].probabilities, mean(40), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["multi_scale"].probabilities, mean(35, 40, 45), rtol=1e-4, atol=1e-6)
    both = found["multi_scale"].probabilities / 2 + found["multi_crop"].probabilities / 2
    np.testing.assert_allclose(found["multi_crop_dense"].probabilities, both, rtol=1e-4, atol=1e-6)
    assert {name: result.views for name, result in found.items()} == {
        "multi_crop_dense": 156,
        "dense": 2,
        "multi_scale": 6,
        "multi_crop": 150,
    }


def test_center_is_the_first_of_several(model: TransferModel, images: ImageSet) -> None:
    found = results(model, images, "protocol=[center,dense]", "protocol.dense.flips=false")
    assert {name: result.views for name, result in found.items()} == {"center": 1, "dense": 1}
    with torch.inference_mode():
        one = torch.stack([model.preprocess(image) for image in map(images.image, range(len(images)))])
        np.testing.assert_allclose(found["center"].probabilities, model(one).softmax(1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("count", "scales"), [(50, "one"), (150, "three"), (100, [256, 384])])
def test_the_numbers_of_views_of_the_paper(count: int, scales: Any) -> None:
    image = Image.new("RGB", (320, 240))
    sizes = [at_scale(VGG, side) for side in scales_in_pixels(scales, VGG, "scales")]
    assert grid_crops(image, sizes, grid=5, flips=True).shape == (count, 3, 224, 224)
    assert ten_crops(image, sizes).shape == (count // 5, 3, 224, 224)


def test_scales(model: TransferModel) -> None:
    assert scales_in_pixels("three", VGG, "scales") == [224, 256, 288]  # S - 32, S, S + 32 of the paper
    # Where the weights crop little, none is smaller than the crop.
    assert scales_in_pixels("three", Preprocessing().override(crop_pct=1.0), "scales") == [224, 252]
    with pytest.raises(TransferkitError, match=r"protocol\.ten_crop\.scales has 200, which is smaller than the crop"):
        scales_in_pixels([256, 200], VGG, "protocol.ten_crop.scales")


def test_unreadable_images_are_listed(model: TransferModel, images: ImageSet, tmp_path: Any) -> None:
    (tmp_path / "a.png").write_bytes(b"text")
    broken = images.joined(ImageSet.from_files([tmp_path / "a.png"], [0]))
    for protocol in ("ten_crop", "dense"):
        with pytest.raises(TransferkitError, match=r"cannot be read, 1 in all: .*a\.png"):
            results(model, broken, f"protocol={protocol}")


def outputs_by_hand(kind: str, logits: Tensor) -> Tensor:
    """The outputs (n, K) of logits (n, 3)."""
    if kind == "multilabel":
        return 1 / (1 + torch.exp(-logits))
    if kind == "regression":
        return logits * torch.tensor([4.0, 0.5, 2.0]) + torch.tensor([1.0, 2.0, 3.0])
    above = (1 / (1 + torch.exp(-logits))).cummin(1).values.tolist()
    return torch.tensor([[1 - a, a - b, b - c, c] for a, b, c in above])


@pytest.mark.parametrize("kind", ["multilabel", "regression", "ordinal"])
def test_other_targets_average_their_own_outputs(model: TransferModel, images: ImageSet, kind: str) -> None:
    names, options = ("a", "b", "c"), {"mean": (1.0, 2.0, 3.0), "std": (4.0, 0.5, 2.0)}
    target = make_target(
        (*names, "d") if kind == "ordinal" else names, {"kind": kind, **(options if kind == "regression" else {})}
    )
    other = TransferModel(model.backbone, model.head, target, ["stage5"]).eval()
    found = results(other, images, "protocol=[ten_crop,dense]", "protocol.dense.average=probabilities")
    size = at_scale(model.preprocess, min(model.preprocess.resize_size))
    for place in range(len(images)):
        crops = model.preprocess.finish(ten_crops(images.image(place), [size]))
        with torch.inference_mode():
            by_hand = outputs_by_hand(kind, model(crops)).mean(0)
        np.testing.assert_allclose(found["ten_crop"].probabilities[place], by_hand, rtol=1e-3, atol=1e-4)
    assert found["dense"].probabilities.shape == (len(images), len(target.names))
    with torch.inference_mode():
        scores = results(other, images, "protocol=dense", "protocol.dense.flips=false")["dense"].probabilities
        whole = [model.preprocess.finish(whole_image(images.image(i), size)[None]) for i in range(len(images))]
        pooled = torch.cat([model(one) for one in whole])
    np.testing.assert_allclose(scores, outputs_by_hand(kind, pooled), rtol=1e-3, atol=1e-4)
