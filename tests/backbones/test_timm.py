"""Networks of timm, cut by its feature information: the same as the original."""

from typing import Any

import pytest
import timm
import torch

from tests.backbones.networks import assert_same_as_original, original_of, randomise_statistics
from transferkit.backbones.create import create_backbone

CASES: dict[str, tuple[dict[str, Any], dict[int, int]]] = {
    "convnext_atto": ({}, {2: 40, 3: 80, 4: 160, 5: 320}),  # layer scale: parameters that are no module's own
    "seresnet18": ({}, {1: 64, 2: 64, 3: 128, 4: 256, 5: 512}),
    "mobilenetv2_050": ({}, {1: 8, 2: 16, 3: 16, 4: 48, 5: 1280}),
    "mobilenetv2_100": ({"pad_type": "same"}, {1: 16, 2: 24, 3: 32, 4: 96, 5: 1280}),
    "mobilenetv3_small_050": ({}, {1: 16, 2: 8, 3: 16, 4: 24, 5: 288}),
    "efficientnet_b0": ({"num_classes": 10}, {1: 16, 2: 24, 3: 40, 4: 112, 5: 1280}),
    "tf_efficientnetv2_b0": ({}, {1: 16, 2: 32, 3: 48, 4: 112, 5: 1280}),
    "densenet121": ({}, {1: 64, 2: 256, 3: 512, 4: 1024, 5: 1024}),
    "regnety_002": ({}, {1: 32, 2: 24, 3: 56, 4: 152, 5: 368}),
    "resnetblur18": ({}, {1: 64, 2: 64, 3: 128, 4: 256, 5: 512}),  # buffers that are not saved
    "xception41": ({}, {1: 128, 2: 256, 3: 728, 4: 1024, 5: 2048}),  # cut inside blocks: states are tuples
}


@pytest.mark.parametrize("name", CASES)
def test_the_stages_are_the_original_network(name):
    kwargs, channels = CASES[name]
    backbone = create_backbone(name, weights=None, source="timm", kwargs=kwargs)
    randomise_statistics(backbone)
    original = timm.create_model(name, **kwargs)
    original.load_state_dict(backbone.original_state_dict(), strict=True)
    assert_same_as_original(backbone, original.eval(), torch.randn(2, 3, 64, 64))
    assert {stage: info.channels for stage, info in backbone.infos.items() if info.spatial} == {
        f"stage{level}": n for level, n in channels.items()
    }
    assert all(info.stride == 2 ** int(stage[-1]) for stage, info in backbone.infos.items() if info.spatial)


def test_nasnet_hands_on_tuples_whose_last_element_is_the_feature():
    small = {"num_features": 480, "stem_size": 16, "num_classes": 10}
    backbone = create_backbone("nasnetalarge", weights=None, kwargs=small)
    randomise_statistics(backbone)
    x = torch.randn(1, 3, 96, 96)
    assert_same_as_original(backbone, original_of(timm.create_model, backbone, model_name="nasnetalarge", **small), x)
    states = backbone.forward_stages(x)
    assert isinstance(states["stage3"], tuple)
    assert states["stage3"][-1].shape[1] == backbone.infos["stage3"].channels
    assert isinstance(states["stage5"], torch.Tensor)


def test_vggs_hidden_layers_are_stages_here_too():
    backbone = create_backbone("vgg11", weights=None, source="timm", kwargs={"num_classes": 2, "mlp_ratio": 0.01})
    assert backbone.feature_stages == ("stage1", "stage2", "stage3", "stage4", "stage5", "fc6", "fc7")
    original = original_of(timm.create_model, backbone, model_name="vgg11", num_classes=2, mlp_ratio=0.01)
    for size in (64, 256):  # smaller and larger than what fc6 is made for
        assert_same_as_original(backbone, original, torch.randn(1, 3, size, size))
