"""Whole images: equal to the ordinary network on a crop, and to fully connected layers turned into convolutions."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import transferkit as tk
from transferkit.backbones.backbone import Backbone
from transferkit.backbones.classic import VGG
from transferkit.backbones.cut import cut
from transferkit.backbones.stage_sequence import BackboneSpec
from transferkit.data.preprocess import Preprocessing
from transferkit.errors import TransferkitError
from transferkit.models.dense_network import DenseNetwork
from transferkit.models.transfer_model import Head, TransferModel
from transferkit.probes.neighbors import NeighborHead

AVERAGES = ("scores", "probabilities")


def model_of(stages: list[str], pool: str = "auto", neighbors: bool = False, vgg: bool = False) -> TransferModel:
    torch.manual_seed(0)
    backbone = small_vgg() if vgg else tk.create_backbone("narrow_resnet10", weights="resnet_glyphs")
    width = sum(backbone.width(stage, pool) for stage in stages)
    head: Head = nn.Linear(width, 3)
    if neighbors:
        head = NeighborHead(torch.randn(20, width), torch.arange(20) % 3, 3, k=4, metric="l2")
    return TransferModel(backbone, head, ["a", "b", "c"], stages, pool).eval()


def small_vgg() -> Backbone:
    """A VGG for images of 224 pixels, with 8 channels and, in its fully connected layers, 16 features."""
    network = VGG([["conv3-8"]] * 5, 10, hidden=16).eval()
    stages, infos = cut(network, (224, 224), "a small VGG")
    return Backbone(stages, infos, Preprocessing(), BackboneSpec("classic", "small_vgg")).eval()


def dense(model: TransferModel, average: str) -> DenseNetwork:
    return DenseNetwork(model, average, torch.device("cpu"), "fp32")


def pixels(*size: int) -> Tensor:
    return torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize(
    ("stages", "pool", "neighbors", "vgg"),
    [
        (["stage5"], "auto", False, False),
        (["stage3"], "max", False, False),
        (["stage2", "stage4"], "grid2", False, False),
        (["stage4"], "auto", True, False),
        (["head"], "auto", False, True),
        (["stage4", "fc7"], "auto", False, True),
        (["fc6"], "auto", True, True),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else str(value),
)
@torch.inference_mode()
def test_on_the_size_of_a_crop_it_is_the_ordinary_network(
    stages: list[str], pool: str, neighbors: bool, vgg: bool, average: str
) -> None:
    model = model_of(stages, pool, neighbors, vgg)
    crop = pixels(*model.preprocess.input_size)
    expected = model(model.preprocess.normalize(crop)).softmax(1)
    torch.testing.assert_close(dense(model, average)(crop), expected, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_fully_connected_layers_are_convolutions() -> None:
    """fc6 as a convolution of 7 x 7, fc7 and the head of 1 x 1 (Simonyan & Zisserman 2015, section 3.2)."""
    model = model_of(["fc7"], vgg=True)
    image = pixels(230, 300)
    state = model.backbone.original_state_dict()
    maps = model.backbone.forward_stages(model.preprocess.normalize(image), ["stage5"])["stage5"]
    assert isinstance(maps, Tensor)
    fc6 = state["classifier.fc6.weight"].view(16, 8, 7, 7)
    hidden = F.relu(F.conv2d(maps, fc6, state["classifier.fc6.bias"]))
    hidden = F.relu(F.conv2d(hidden, state["classifier.fc7.weight"][..., None, None], state["classifier.fc7.bias"]))
    assert isinstance(model.head, nn.Linear)
    class_map = F.conv2d(hidden, model.head.weight[..., None, None], model.head.bias)
    assert class_map.shape == (2, 3, 1, 3)
    torch.testing.assert_close(dense(model, "scores")(image), class_map.mean((2, 3)).softmax(1))
    torch.testing.assert_close(dense(model, "probabilities")(image), class_map.softmax(1).mean((2, 3)))


@torch.inference_mode()
def test_a_globally_pooled_network_has_its_head_as_a_convolution() -> None:
    model = model_of(["stage5"])
    image = pixels(70, 100)
    maps = model.backbone(model.preprocess.normalize(image))
    assert isinstance(model.head, nn.Linear)
    class_map = F.conv2d(maps, model.head.weight[..., None, None], model.head.bias)
    torch.testing.assert_close(dense(model, "scores")(image), class_map.mean((2, 3)).softmax(1), rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_windows_of_several_maps_lie_at_the_same_place() -> None:
    model = model_of(["stage4", "stage5"])
    image = pixels(70, 100)
    states = model.backbone.forward_stages(model.preprocess.normalize(image), model.stages)
    found = []
    fine, coarse = states["stage4"], states["stage5"]
    assert isinstance(fine, Tensor)
    assert isinstance(coarse, Tensor)
    for row in range(coarse.shape[2]):  # for a crop of 32 pixels stage5 has one place, stage4 two by two
        for column in range(coarse.shape[3]):
            cells = fine[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            if cells.shape[2:] == (2, 2):
                found.append(model.head(torch.cat([cells.mean((2, 3)), coarse[:, :, row, column]], 1)).softmax(1))
    assert len(found) == 6
    expected = torch.stack(found).mean(0)
    torch.testing.assert_close(dense(model, "probabilities")(image), expected, rtol=1e-4, atol=1e-5)


def test_position_embeddings_of_one_size_are_refused() -> None:
    backbone = tk.create_backbone("vit_tiny_patch16_224", weights=None, kwargs={"depth": 4}).eval()
    model = TransferModel(backbone, nn.Linear(192, 2), ["a", "b"], [backbone.top])
    with pytest.raises(TransferkitError, match=r"position embeddings of vit_tiny_patch16_224 .* ten_crop"):
        dense(model, "scores")


def test_a_network_that_fails_at_another_size_is_refused() -> None:
    model = model_of(["stage5"])
    network = dense(model, "scores")
    with pytest.raises(TransferkitError, match="narrow_resnet10 cannot take images of 0 x 0 pixels"):
        network(torch.empty(1, 3, 0, 0, dtype=torch.uint8))
    assert np.isfinite(network(pixels(33, 33)).numpy()).all()
