"""From names and files to backbones, offline."""

import json
import urllib.error
import urllib.request
from pathlib import Path

import huggingface_hub.constants
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from transferkit.backbones import from_embedded
from transferkit.backbones.create import create_backbone, create_backbone_from_config
from transferkit.backbones.stage_sequence import BackboneSpec
from transferkit.errors import TransferkitError
from transferkit.models.transfer_model import TransferModel, save_model

X = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty caches, and no network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def refuse(*_, **__):
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    (tmp_path / "torch/hub/checkpoints").mkdir(parents=True)
    return tmp_path


@pytest.fixture(scope="module")
def resnet18() -> nn.Module:
    torch.manual_seed(1)
    model: nn.Module = torchvision.models.resnet18()
    return model.eval()


def message_of(*args, **kwargs) -> str:
    with pytest.raises(TransferkitError) as caught:
        create_backbone(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_auto_prefers_embedded_then_torchvision_then_timm():
    specs = [create_backbone(name, None).spec for name in ("narrow_resnet10", "resnet18", "seresnet18")]
    assert specs == [
        BackboneSpec("embedded", "narrow_resnet10"),
        BackboneSpec("torchvision", "resnet18"),
        BackboneSpec("timm", "seresnet18"),
    ]


def test_misspelt_names():
    assert "Did you mean resnet18" in message_of("resnet81", None)
    assert "Did you mean torchvision" in message_of("resnet18", None, "torchvison")
    assert "IMAGENET1K_V1, IMAGENET1K_V2" in message_of("resnet50", "IMAGENET1K_V9")
    assert "a1_in1k" in message_of("resnet18", "a9_in1k", "timm")
    assert "backbone.kwargs" in message_of("resnet18", None, kwargs={"widht": 2})
    assert "backbone.kwargs" in message_of("convnext_atto", None, kwargs={"widht": 2})
    assert "backbone.kwargs: in_chans" in message_of("convnext_atto", None, kwargs={"in_chans": 1})


def test_config_keys_are_checked():
    with pytest.raises(TransferkitError, match=r"backbone\.weigths: .*Did you mean backbone\.weights"):
        create_backbone_from_config({"name": "resnet18", "weigths": None})
    with pytest.raises(TransferkitError, match=r"backbone\.name"):
        create_backbone_from_config({"weights": None})
    assert create_backbone_from_config(
        {"name": "resnet18", "weights": None, "input_size": 96}
    ).preprocess.input_size == (96, 96)


def test_torchvisions_cache_is_honoured_offline(caches, resnet18):
    torch.save(resnet18.state_dict(), caches / "torch/hub/checkpoints/resnet18-f37072fd.pth")
    for weights in ("imagenet", "IMAGENET1K_V1"):
        backbone = create_backbone("resnet18", weights)
        assert torch.equal(backbone(X), resnet18(X))
        assert backbone.weights_name == "IMAGENET1K_V1"


def test_a_known_file_name_brings_its_preprocessing(caches):
    state = torchvision.models.resnet50().state_dict()
    for name, resize in [("resnet50-0676ba61.pth", 256), ("resnet50-11ad3fa6.pth", 232), ("mine.pth", 256)]:
        torch.save(state, caches / name)
        assert create_backbone("resnet50", caches / name).preprocess.resize_size == (resize, resize)


def test_googlenet_keeps_its_input_transform_and_loses_its_auxiliary_heads(caches):
    original = torchvision.models.googlenet(transform_input=True, init_weights=False).eval()
    torch.save(original.state_dict(), caches / "torch/hub/checkpoints/googlenet-1378be20.pth")
    backbone = create_backbone("googlenet")
    assert torch.equal(backbone(X), original(X))
    assert backbone.spec.kwargs == {"transform_input": True}
    assert not any(name.startswith("aux") for name in backbone.original_state_dict())


@pytest.mark.parametrize("place", ["hub/models--timm--seresnet18.x/snapshots/abc/model.safetensors", "torch"])
def test_timms_caches_are_honoured_offline(caches, monkeypatch, place):
    name, tag = "resnet18", "a1_in1k"
    original = timm.create_model(name).eval()
    config = timm.get_pretrained_cfg(f"{name}.{tag}")
    if place == "torch":
        torch.save(original.state_dict(), caches / "torch/hub/checkpoints" / Path(config.url).name)
    else:
        file = caches / f"hub/models--timm--{name}.{tag}/snapshots/abc/model.safetensors"
        file.parent.mkdir(parents=True)
        save_file(original.state_dict(), file)
    for weights in ("imagenet", tag):
        backbone = create_backbone(name, weights, "timm")
        assert torch.equal(backbone(X), original(X))
        assert backbone.weights_name == tag
        assert backbone.preprocess.resize_size == (235, 235)


@pytest.mark.parametrize(
    ("name", "source", "file", "folder"),
    [
        ("resnet50", "torchvision", "resnet50-11ad3fa6.pth", "torch/hub/checkpoints"),
        ("convnext_tiny", "timm", "model.safetensors", "hub/models--timm--convnext_tiny.in12k_ft_in1k/snapshots"),
    ],
)
def test_without_a_network_the_message_says_what_helps(caches, name, source, file, folder):
    message = message_of(name, source=source)
    for needed in (
        name,
        file,
        str(caches / folder),
        "no route",
        "backbone.weights=/path",
        "backbone.weights=null",
        "backbone=efficientnet_lite0",
    ):
        assert needed in message


def test_a_truncated_download_is_one_clear_message(caches, resnet18):
    file = caches / "torch/hub/checkpoints/resnet18-f37072fd.pth"
    torch.save(resnet18.state_dict(), file)
    file.write_bytes(file.read_bytes()[:-1000])
    message = message_of("resnet18")
    assert str(file) in message
    assert "delete it" in message


@pytest.mark.parametrize("source", ["torchvision", "timm"])
def test_a_file_of_another_architecture_lists_the_keys(caches, resnet18, source):
    save_file(resnet18.state_dict(), caches / "w.safetensors")
    message = message_of("mobilenetv2_100" if source == "timm" else "mobilenet_v2", caches / "w.safetensors", source)
    assert "not for mobilenet" in message
    assert "missing: " in message
    assert "bn1.running_mean" in message


def test_a_file_for_another_number_of_classes_keeps_its_body(caches, caplog):
    for source, name, build in [
        ("torchvision", "resnet18", torchvision.models.resnet18),
        ("timm", "mobilenetv3_small_050", lambda **kw: timm.create_model("mobilenetv3_small_050", **kw)),
    ]:
        ten = build(num_classes=10)
        save_file(ten.state_dict(), caches / "ten.safetensors")
        backbone = create_backbone(name, str(caches / "ten.safetensors"), source)
        assert backbone.infos["head"].channels == 1000
        assert torch.isfinite(backbone(X)).all(), "the head is initialised"
        assert "skipped" in caplog.text
        caplog.clear()
        exact = create_backbone(name, str(caches / "ten.safetensors"), source, kwargs={"num_classes": 10})
        assert torch.equal(exact(X), ten.eval()(X))
        assert not caplog.text


@pytest.mark.slow
def test_timm_converts_files_of_torchvision(caches):
    original = torchvision.models.vgg11(init_weights=False, num_classes=3)
    save_file(original.state_dict(), caches / "vgg.safetensors")
    backbone = create_backbone("vgg11", caches / "vgg.safetensors", "timm", kwargs={"num_classes": 3})
    assert torch.equal(backbone.original_state_dict()["pre_logits.fc2.bias"], original.classifier[3].bias)


def test_missing_files_and_folders(caches):
    assert "no file or run directory" in message_of("resnet18", "nowhere/w.pth")
    assert "no file or run directory" in message_of("resnet18", "w.safetensors")
    assert "no run directory" in message_of("resnet18", str(caches))


@pytest.fixture
def run(caches: Path) -> Path:
    """A run directory whose model ends with stage4 of the small ResNet."""
    torch.manual_seed(2)
    backbone = create_backbone("narrow_resnet10", None, kwargs={"num_classes": 5}, input_size=48, mean=0.5).truncate(
        "stage4"
    )
    model = TransferModel(backbone, nn.Linear(96, 2), ["a", "b"]).eval()
    save_model(caches / "run", model)
    torch.save(model.backbone(X), caches / "expected.pt")
    return caches / "run"


def test_a_run_directory_gives_back_its_backbone(caches, run):
    backbone = create_backbone("narrow_resnet10", str(run))
    assert torch.equal(backbone(X), torch.load(caches / "expected.pt"))
    assert backbone.stage_names[-1] == "stage4"
    assert backbone.preprocess.input_size == (48, 48)
    assert backbone.preprocess.mean == (0.5, 0.5, 0.5)
    assert backbone.spec == BackboneSpec("embedded", "narrow_resnet10", {"num_classes": 5})
    assert backbone.weights_name == "run"
    assert create_backbone("narrow_resnet10", run, mean=0.1).preprocess.mean == (0.1, 0.1, 0.1)


def test_a_run_directory_of_another_network_is_refused(run):
    assert "narrow_resnet10" in message_of("resnet18", run)
    assert "num_classes" in message_of("narrow_resnet10", run, kwargs={"num_classes": 6})


def test_embedded_weights_are_found_by_name(run, monkeypatch):
    monkeypatch.setattr(from_embedded, "FOLDER", run.parent)
    assert create_backbone("narrow_resnet10", "run").weights_name == "run"
    assert "Embedded weights: run" in message_of("narrow_resnet10", "imagenet")


def test_a_damaged_run_directory(run):
    (run / "model.json").write_text(json.dumps({"format": 1}))
    assert "model.json" in message_of("narrow_resnet10", run)
