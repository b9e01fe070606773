from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from tests.conftest import compose_settings
from transferkit.config.augment_keys import EIGENVECTORS
from transferkit.config.augment_use import count_views, used_augment
from transferkit.data.augment import TRANSFORMS, create_augment
from transferkit.data.preprocess import Preprocessing
from transferkit.errors import TransferkitError

PREPROCESS = Preprocessing().override(input_size=24, crop_pct=1.0)


@pytest.fixture
def image() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8))


def test_the_chain_equals_torchvisions(image: Image.Image) -> None:
    augment: Any = create_augment(
        {"random_resized_crop": {"scale": [0.3, 0.9]}, "horizontal_flip": {}, "color_jitter": {"hue": 0.2}}, PREPROCESS
    )
    reference = v2.Compose(
        [v2.RandomResizedCrop((24, 24), scale=(0.3, 0.9)), v2.RandomHorizontalFlip(), v2.ColorJitter(hue=0.2)]
    )
    for seed in range(5):
        torch.manual_seed(seed)
        ours = np.asarray(augment(image))
        torch.manual_seed(seed)
        assert (ours == np.asarray(reference(image))).all()


def test_nothing_to_do_and_switched_off() -> None:
    assert create_augment({}, PREPROCESS) is None
    assert create_augment({"horizontal_flip": None}, PREPROCESS) is None


def test_views() -> None:
    flips: dict[str, Any] = {"transforms": {"horizontal_flip": {}}}
    assert count_views(flips) is None
    assert count_views({**flips, "views": 3}) == 3
    assert count_views({"transforms": {"horizontal_flip": None}, "views": None}) == 1
    assert count_views({**flips, "views": "auto"}, passes=10) is None
    assert count_views({**flips, "views": "auto"}, passes=120) == 10


def test_a_head_alone_is_augmented_where_the_group_says_so() -> None:
    for heads, expected in ((True, 2), (False, 1)):
        group = {"heads": heads, "views": 2, "transforms": {"horizontal_flip": {}}}
        assert count_views(used_augment(group, trains_stage=False)) == expected
        assert count_views(used_augment(group, trains_stage=True)) == 2


def test_a_random_crop_is_not_cropped_again(image: Image.Image) -> None:
    """The object then has, on average, the size that it has in the test images; a second crop would enlarge it."""
    preprocess = Preprocessing().override(input_size=24, crop_pct=0.75)
    for name, cropped in (("random_resized_crop", True), ("horizontal_flip", False)):
        augment: Any = create_augment({name: {}}, preprocess)
        changed = augment(image)
        pixels = augment.pixels(changed, preprocess.pixels)
        assert pixels.shape == (3, 24, 24)
        assert (pixels.numpy().transpose(1, 2, 0) == np.asarray(changed)).all() if cropped else augment.cropped is False
    sized: Any = create_augment({"random_resized_crop": {"size": 40}}, preprocess)
    assert torch.equal(sized.pixels(image, preprocess.pixels), preprocess.pixels(image))


@pytest.mark.parametrize("name", TRANSFORMS)
def test_every_transform_takes_an_image(name: str, image: Image.Image) -> None:
    needed = {"rotation": {"degrees": 5}, "affine": {"degrees": 5}, "gaussian_blur": {"kernel_size": 3}}
    augment: Any = create_augment({name: needed.get(name, {})}, PREPROCESS)
    changed = augment(image)
    assert isinstance(changed, Image.Image)
    sized = "crop" in name or name == "resize"
    assert name == "shortest_side" or changed.size == ((24, 24) if sized else image.size)


def test_the_shorter_side_has_every_length_of_the_range(image: Image.Image) -> None:
    """VGG's scale jitter: S in [256; 512] for an input of 224, here 24 * [8 / 7; 16 / 7]."""
    jitter: Any = create_augment({"shortest_side": {}}, PREPROCESS)
    torch.manual_seed(0)
    changed = [jitter(image) for _ in range(300)]
    assert {min(found.size) for found in changed} == set(range(27, 56))
    assert all(found.height / found.width == pytest.approx(4 / 3, abs=0.05) for found in changed)
    assert not jitter.cropped
    cropped: Any = create_augment({"shortest_side": {}, "random_crop": {}}, PREPROCESS)
    assert cropped.cropped
    assert cropped(image).size == (24, 24)


def test_the_recipe_of_the_course(image: Image.Image) -> None:
    """Resize, ColorJitter(hue=.05, saturation=.05), RandomHorizontalFlip, RandomRotation(20) of torchvision."""
    group = compose_settings("finetune_few", "augment=course")["augment"]
    ours: Any = create_augment(group["transforms"], PREPROCESS)
    theirs = v2.Compose(
        [
            *(v2.Resize((24, 24)), v2.ColorJitter(hue=0.05, saturation=0.05)),
            *(v2.RandomHorizontalFlip(), v2.RandomRotation(20)),
        ]
    )
    for seed in range(5):
        torch.manual_seed(seed)
        changed = np.asarray(ours(image))
        torch.manual_seed(seed)
        assert (changed == np.asarray(theirs(image))).all()


def test_what_is_erased_is_one_rectangle_of_one_colour(image: Image.Image) -> None:
    erasing: Any = create_augment({"random_erasing": {"p": 1.0, "value": [1, 2, 3]}}, PREPROCESS)
    torch.manual_seed(0)
    before, after = np.asarray(image), np.asarray(erasing(image))
    rows, columns = np.nonzero((before != after).any(axis=2))
    patch = after[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert (patch == [1, 2, 3]).all()
    assert 0.02 <= patch.shape[0] * patch.shape[1] / (40 * 30) <= 0.4


def test_names_are_what_torchvision_calls_interpolations(image: Image.Image) -> None:
    for name in ("resize", "shortest_side", "random_resized_crop"):
        augment: Any = create_augment({name: {"interpolation": "bicubic"}}, PREPROCESS)
        changed = augment(image)
        if name == "shortest_side":
            low, high = (round(factor * min(PREPROCESS.input_size)) for factor in (8 / 7, 16 / 7))
            assert low <= min(changed.size) <= high
        else:
            assert changed.size == PREPROCESS.input_size[::-1]


@pytest.mark.parametrize(
    ("transforms", "message"),
    [
        (
            {"horizontal_flop": {}},
            r"augment\.transforms\.horizontal_flop: .*\. Did you mean .*\.horiz",
        ),
        (
            {"rotation": {"degree": 5}},
            r"augment\.transforms\.rotation\.degree: there is no such key\. Did you mean .*\.deg",
        ),
        ({"rotation": {}}, r"augment\.transforms\.rotation\.degrees is missing"),
        ({"shortest_side": {"scale": [2.0, 1.0]}}, r"shortest_side\.scale=\[2\.0, 1\.0\] must begin with the smaller"),
        ({"aug_mix": {"chain_depth": 0}}, r"aug_mix\.chain_depth=0 must be -1"),
        ({"random_erasing": {"ratio": [3.0, 1.0]}}, r"random_erasing\.ratio=\[3\.0, 1\.0\] is the wrong way round"),
        ({"horizontal_flip": {"p": 2}}, r"augment\.transforms\.horizontal_flip\.p=2 must be a number from 0 to 1"),
    ],
)
def test_mistakes(transforms: dict[str, Any], message: str) -> None:
    with pytest.raises(TransferkitError, match=message):
        create_augment(transforms, PREPROCESS)


def test_a_shift_along_the_principal_components_of_colours(image: Image.Image) -> None:
    """Against the formula of Krizhevsky et al. 2012, section 4.1, pixel by pixel."""
    values, vectors = [0.2, 0.1, 0.05], [[0.6, 0.8, 0.0], [0.8, -0.6, 0.0], [0.0, 0.0, 1.0]]
    augment: Any = create_augment({"pca_color": {"eigenvalues": values, "eigenvectors": vectors}}, PREPROCESS)
    torch.manual_seed(3)
    found = np.asarray(augment(image)).astype(float)
    torch.manual_seed(3)
    drawn = (0.1 * torch.randn(3)).tolist()
    shift = [sum(vectors[channel][k] * drawn[k] * values[k] for k in range(3)) for channel in range(3)]
    assert max(map(abs, shift)) > 0.005
    expected = np.clip(np.asarray(image) + 255 * np.array(shift), 0, 255)
    assert np.abs(found - expected).max() <= 0.5 + 1e-4


def test_the_published_components_are_orthonormal() -> None:
    transforms = compose_settings("linear_probe", "augment=pca_colour")["augment"]["transforms"]
    vectors = np.array(EIGENVECTORS)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=1e-3)
    assert create_augment(transforms, PREPROCESS).cropped  # type: ignore[union-attr]
