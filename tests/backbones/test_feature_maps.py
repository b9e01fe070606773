"""Maps of several stages are those of the original network, whatever wraps it."""

import pytest
import torch
from torchvision.models._utils import IntermediateLayerGetter

import transferkit as tk
from transferkit.backbones.narrow import narrow_resnet10
from transferkit.errors import TransferkitError


def test_maps_are_those_of_the_original_network() -> None:
    backbone = tk.create_backbone("narrow_resnet10", "resnet_glyphs")
    original = narrow_resnet10(num_classes=200).eval()
    original.load_state_dict(backbone.original_state_dict(), strict=False)
    names = {"layer1": "stage2", "layer2": "stage3", "layer3": "stage4", "layer4": "stage5"}
    maps = tk.FeatureMaps(backbone)
    images = torch.randn(2, 3, 96, 64)  # not the size that the weights were trained with
    with torch.inference_mode():
        found, expected = maps(images), IntermediateLayerGetter(original, names)(images)
    assert list(found) == list(expected) == list(maps.channels)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-5, rtol=1e-5)
        assert value.shape[1] == maps.channels[name]
        assert value.shape[2:] == (96 // maps.strides[name], 64 // maps.strides[name])


def test_patches_of_a_transformer_lie_in_their_grid() -> None:
    kwargs = {"img_size": 32, "patch_size": 8, "depth": 4, "embed_dim": 24, "num_heads": 2}
    backbone = tk.create_backbone("vit_tiny_patch16_224", None, "timm", kwargs=kwargs)
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        found = tk.FeatureMaps(backbone, ["stage3"])(images)["stage3"]
        tokens = backbone.forward_stages(images, ["stage3"])["stage3"]
    assert found.shape == (2, 24, 4, 4)
    assert isinstance(tokens, torch.Tensor)
    torch.testing.assert_close(found[:, :, 1, 2], tokens[:, 1 + 1 * 4 + 2])  # after the class token, row by row


def test_stages_without_a_map_are_refused() -> None:
    backbone = tk.create_backbone("narrow_vgg8", None, "embedded")
    with pytest.raises(TransferkitError, match="The output of fc6 is a vector, not a map"):
        tk.FeatureMaps(backbone, ["stage5", "fc6"])
    with pytest.raises(TransferkitError, match=r"matches none of stage1"):
        tk.FeatureMaps(backbone, ["layer*"])
