"""Distances of activation statistics, against torch's own divergence, a plain loop, and domains a person can order."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

import transferkit as tk
from tests.advisor.conftest import embedded
from transferkit.advisor.distance import activation_distance, symmetric_kl
from transferkit.backbones.backbone import Backbone
from transferkit.data.imageset import ImageSet


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return embedded("resnet_glyphs")


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    return tk.load_data({"kind": "digits", "name": "digits"}, seed=0).train


@pytest.fixture(scope="module")
def letters() -> ImageSet:
    return tk.load_data({"kind": "glyphs", "name": "glyphs", "images": 200}, seed=0).train


def noise(n: int) -> ImageSet:
    pixels = np.random.default_rng(0).integers(0, 256, (n, 32, 32), dtype=np.uint8)
    return ImageSet.from_arrays(pixels, np.zeros(n, dtype=np.int64))


def test_the_divergence_is_that_of_two_normal_distributions() -> None:
    rng = np.random.default_rng(0)
    means, variances = rng.normal(size=(2, 6)), rng.uniform(0.1, 3, size=(2, 6))
    p, q = (Normal(torch.tensor(m), torch.tensor(v).sqrt()) for m, v in zip(means, variances, strict=True))
    expected = (kl_divergence(p, q) + kl_divergence(q, p)).numpy()
    np.testing.assert_allclose(symmetric_kl(means[0], variances[0], means[1], variances[1]), expected)


@torch.no_grad()
def test_the_first_layer_by_hand(backbone: Backbone, digits: ImageSet) -> None:
    images = digits.subset(np.arange(64))
    name, norm = next((n, m) for n, m in backbone.named_modules() if isinstance(m, nn.BatchNorm2d))
    seen: list[torch.Tensor] = []
    handle = norm.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    backbone.eval()(torch.stack([backbone.preprocess(images.image(i)) for i in range(64)]))
    handle.remove()
    x = seen[0].double()

    def stats(part: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        rows = part.transpose(0, 1).flatten(1).numpy()
        return rows.mean(axis=1), rows.var(axis=1)

    assert norm.running_mean is not None
    assert norm.running_var is not None
    source = norm.running_mean.double().numpy(), norm.running_var.double().numpy()
    expected = np.median(symmetric_kl(*stats(x), *source) - symmetric_kl(*stats(x[::2]), *stats(x[1::2])) / 4)
    found = activation_distance(backbone, images, batch_size=64)
    assert found is not None
    stage, value = found.layers[0]
    assert stage == name.split(".")[1]
    assert value == pytest.approx(max(expected, 0.0))


def test_domains_are_ordered_as_a_person_would(backbone: Backbone, letters: ImageSet, digits: ImageSet) -> None:
    distances = [activation_distance(backbone, images) for images in (letters, digits, noise(100))]
    values = [distance.all for distance in distances if distance is not None]
    assert len(values) == 3
    assert values[0] < 0.03 < values[1] < 0.2 < values[2]


def test_few_images_do_not_count_as_a_different_domain(backbone: Backbone, letters: ImageSet) -> None:
    many, few = (activation_distance(backbone, letters.subset(np.arange(n))) for n in (200, 24))
    assert many is not None
    assert few is not None
    assert abs(few.all - many.all) < 0.03
    assert few.images == 24


def test_batches_do_not_matter_and_the_network_stays(backbone: Backbone, digits: ImageSet, tmp_path: Path) -> None:
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    images = digits.subset(np.arange(40))
    one, other = (activation_distance(backbone.train(), images, batch_size=size) for size in (10, 40))
    assert one is not None
    assert other is not None
    assert one.all == pytest.approx(other.all, rel=1e-4)
    assert backbone.training
    assert all(torch.equal(before[name], tensor) for name, tensor in backbone.state_dict().items())


def test_nothing_to_compare_with(digits: ImageSet) -> None:
    images = digits.subset(np.arange(8))
    assert activation_distance(tk.create_backbone("narrow_resnet10", weights=None, source="embedded"), images) is None
    plain = tk.create_backbone("vgg11", weights=None, input_size=32)  # has no batch norm
    plain.weights_name = "something"
    assert activation_distance(plain, images) is None
