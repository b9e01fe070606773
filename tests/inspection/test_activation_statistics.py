"""Activations and gradients of a small network, against a plain loop over its stages."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from transferkit.backbones.backbone import Backbone
from transferkit.backbones.create import create_backbone
from transferkit.backbones.stage_sequence import feature
from transferkit.data.imageset import ImageSet
from transferkit.inspection.activation_statistics import BATCH, measure
from transferkit.inspection.filters import first_filters, mosaic

IMAGES, CLASSES, SEED = 20, 4, 3


@pytest.fixture(scope="module")
def images() -> ImageSet:
    values = np.random.default_rng(0).integers(0, 256, (IMAGES, 32, 32, 3), dtype=np.uint8)
    return ImageSet.from_arrays(values, np.arange(IMAGES) % CLASSES)


def network() -> Backbone:
    torch.manual_seed(0)
    backbone = create_backbone("narrow_vgg8", weights=None, input_size=32)
    first = next(module for module in backbone.modules() if isinstance(module, nn.Conv2d))
    with torch.no_grad():
        first.weight[1], first.bias[1] = 0.0, -1.0  # type: ignore[index]
    return backbone


def test_the_statistics_are_those_of_a_plain_loop(images: ImageSet) -> None:
    layers, measured = measure(network(), images, IMAGES, CLASSES, SEED)
    backbone = network()
    inputs = torch.stack([backbone.preprocess(images.image(i)) for i in range(IMAGES)])
    with torch.no_grad():
        states = backbone.forward_stages(inputs)
    ends = {layer.stage: row for row, layer in enumerate(layers) if row in measured.activations}
    for stage, state in states.items():
        found, expected = measured.activations[ends[stage]], feature(state)
        assert found.mean == pytest.approx(expected.mean().item(), rel=1e-4, abs=1e-6)
        assert found.std == pytest.approx(expected.std(correction=0).item(), rel=1e-4)
        assert found.counts.sum() == expected.numel()
    assert [(layer.kind, layer.activation) for layer in layers[1:3]] == [("convolution", ""), ("batch norm", "ReLU")]
    assert measured.activations[1].edges[0] < 0
    assert measured.activations[2].edges[0] == 0  # after the ReLU
    assert (measured.activations[2].units, measured.activations[2].dead) == (layers[1].filters, 1)


def test_the_gradients_are_those_of_autograd(images: ImageSet) -> None:
    layers, measured = measure(network(), images, IMAGES, CLASSES, SEED)
    backbone = network().requires_grad_(True)
    torch.manual_seed(SEED)
    head = nn.Linear(backbone.width(backbone.top), CLASSES)
    inputs = torch.stack([backbone.preprocess(images.image(i)) for i in range(BATCH)])
    state = backbone.forward_stages(inputs, [backbone.top])[backbone.top]
    labels = torch.as_tensor(images.labels[:BATCH])
    torch.autograd.backward(F.cross_entropy(head(backbone.pooled(backbone.top, feature(state))), labels))
    assert (measured.images, measured.batch) == (IMAGES, BATCH)
    for row, norm in measured.gradients.items():
        module = backbone.stages[layers[row].stage].get_submodule(layers[row].name)
        expected = torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None]).norm()
        assert norm == pytest.approx(expected.item(), rel=1e-3), layers[row].name
    below_head = [row for row, layer in enumerate(layers) if layer.parameters and layer.stage != "head"]
    assert list(measured.gradients) == below_head


def test_the_picture_of_the_filters() -> None:
    picture = mosaic(torch.linspace(-1, 1, 5 * 3 * 9).reshape(5, 3, 3, 3))
    assert picture.size == (4 * 4 - 1, 2 * 4 - 1)  # four columns of 3 pixels with a gap of one
    assert [picture.getpixel((i, 0))[3] for i in (0, 3)] == [255, 0]  # type: ignore[index]
    found = first_filters(network())
    assert found is not None
    assert found.shown == found.count
    assert found.picture.startswith("data:image/png")
