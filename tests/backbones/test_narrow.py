from pathlib import Path

import pytest
import timm
import torch
import torchvision
from torch import nn

from transferkit.backbones.create import create_backbone
from transferkit.backbones.from_embedded import FOLDER, shipped_weights
from transferkit.backbones.narrow import NARROW, narrow_resnet10, narrow_vgg8

SHIPPED = ("resnet_fractals", "resnet_glyphs", "vgg_glyphs")
MOST_BYTES = 2_000_000


def test_they_are_members_of_their_families() -> None:
    assert type(narrow_resnet10()) is torchvision.models.ResNet
    assert type(narrow_vgg8()) is torchvision.models.VGG


def test_with_the_papers_widths_they_are_the_librarys_networks() -> None:
    ours = narrow_resnet10(10, channels=(64, 128, 256, 512)).state_dict()
    theirs = timm.create_model("resnet10t", num_classes=10, stem_type="", stem_width=64, avg_down=False).state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}
    widths = [64, "M", 128, "M", 256, "M", 512, "M", 512, "M"]
    features = torchvision.models.vgg.make_layers(widths, batch_norm=True).state_dict()
    ours = narrow_vgg8(channels=(64, 128, 256, 512, 512)).get_submodule("features").state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in features.items()}


def test_timm_builds_the_same_network_from_the_same_seed() -> None:
    torch.manual_seed(0)
    ours = narrow_resnet10(10, channels=(24, 48, 96, 192)).eval()
    torch.manual_seed(0)
    theirs = timm.models.resnet.ResNet(
        timm.models.resnet.BasicBlock, (1, 1, 1, 1), 10, channels=(24, 48, 96, 192), zero_init_last=False
    ).eval()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert all(torch.equal(theirs.state_dict()[key], value) for key, value in ours.state_dict().items())
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(ours(images), theirs(images))


@pytest.mark.parametrize("name", NARROW)
def test_eight_and_ten_weight_layers_on_no_meta_device(name: str) -> None:
    network = NARROW[name](7)
    weights = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    shortcuts = [n for n, _ in network.named_modules() if n.endswith("downsample.0")]
    assert len(weights) - len(shortcuts) == {"narrow_resnet10": 10, "narrow_vgg8": 8}[name]
    assert {p.device.type for p in network.parameters()} == {"cpu"}


@pytest.mark.parametrize(
    ("name", "stages", "top"),
    [
        ("narrow_resnet10", ("stage1", "stage2", "stage3", "stage4", "stage5", "head"), 192),
        ("narrow_vgg8", ("stage1", "stage2", "stage3", "stage4", "stage5", "fc6", "fc7", "head"), 256),
    ],
)
def test_stages_equal_the_network(name: str, stages: tuple[str, ...], top: int) -> None:
    torch.manual_seed(0)
    original = NARROW[name](5).eval()
    backbone = create_backbone(name, None, input_size=32, kwargs={"num_classes": 5})
    backbone.load_original_state_dict(original.state_dict())
    images = torch.randn(2, 3, 32, 32)
    assert backbone.stage_names == stages
    assert [info.stride for info in backbone.infos.values()][:5] == [2, 4, 8, 16, 32]
    assert backbone.infos[backbone.top].channels == top
    with torch.inference_mode():
        assert torch.equal(backbone(images), original(images))


def test_what_is_shipped_is_small_and_readable_by_everybody() -> None:
    assert tuple(shipped_weights()) == SHIPPED
    for name in SHIPPED:
        weights: Path = FOLDER / name / "model.safetensors"
        assert weights.stat().st_size < MOST_BYTES
        assert weights.stat().st_mode & 0o044 == 0o044
        text = (FOLDER / name / "model.json").read_text(encoding="utf-8")
        assert "/tmp" not in text
        assert "/home" not in text
