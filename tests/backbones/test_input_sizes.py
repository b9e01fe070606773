"""Networks whose parameters belong to one image size, at another: their position embeddings are resampled."""

from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed

from transferkit.backbones.create import create_backbone
from transferkit.errors import TransferkitError

TINY = {"embed_dim": 48, "depth": 4, "num_heads": 3, "num_classes": 0}
NAME = "vit_small_patch14_dinov2"


@pytest.mark.parametrize(("size", "grid"), [(42, (3, 3)), ([28, 70], (2, 5))])
def test_position_embeddings_are_resampled_as_timm_does(size: int | list[int], grid: tuple[int, int], tmp_path: Path):
    torch.manual_seed(0)
    model = timm.create_model(NAME, img_size=56, **TINY)
    save_file(model.state_dict(), tmp_path / "dino.safetensors")
    backbone = create_backbone(NAME, tmp_path / "dino.safetensors", "timm", kwargs=TINY, input_size=size)
    assert backbone.infos["stage5"].grid == grid
    assert backbone.preprocess.input_size == (grid[0] * 14, grid[1] * 14)
    state = backbone.original_state_dict()
    expected = resample_abs_pos_embed(model.pos_embed, grid, num_prefix_tokens=1)
    assert torch.allclose(state["pos_embed"], expected, atol=1e-6)
    assert torch.equal(state["blocks.3.mlp.fc1.weight"], model.state_dict()["blocks.3.mlp.fc1.weight"])
    with torch.inference_mode():
        assert backbone(torch.randn(1, 3, *backbone.preprocess.input_size)).shape == (1, 48)
    again = create_backbone(NAME, None, backbone.spec.source, kwargs=backbone.spec.kwargs)  # as an artifact does
    assert again.infos == backbone.infos


def test_a_size_that_cannot_be_says_which_can():
    message = r"vit_small_patch14_dinov2 cannot be built for 50 x 50.*of 14 x 14.*518 x 518.*multiples of"
    with pytest.raises(TransferkitError, match=message):
        create_backbone(NAME, None, "timm", kwargs=TINY, input_size=50)


def test_networks_of_maps_need_nothing():
    backbone = create_backbone("mobilenetv2_050", None, "timm", input_size=96)
    assert backbone.spec.kwargs == {}
    assert backbone.preprocess.input_size == (96, 96)


@pytest.mark.slow
def test_torchvisions_vision_transformer(tmp_path: Path):
    model = torchvision.models.vit_b_16(num_classes=3)
    torch.save(model.state_dict(), tmp_path / "vit.pth")
    backbone = create_backbone(
        "vit_b_16", tmp_path / "vit.pth", "torchvision", kwargs={"num_classes": 3}, input_size=64
    )
    assert backbone.infos["stage5"].grid == (4, 4)
    with pytest.raises(TransferkitError, match="position embeddings are square"):
        create_backbone("vit_b_16", None, "torchvision", input_size=[64, 32])
