"""Without a network: real data sets and real weights are found where torchvision keeps them, or the message helps."""

import json
from pathlib import Path

import pytest
import torch
import torchvision

from tests.conftest import RunCommand
from tests.data.miniatures import flowers
from transferkit.cli.prepare import with_installed_weights

RESNET50_FILE = "resnet50-11ad3fa6.pth"
RESNET18_FILE = "resnet18-f37072fd.pth"
NO_NETWORK = {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}


@pytest.fixture
def mini_flowers(tmp_path: Path) -> Path:
    """The Flowers-102 files in torchvision's own layout, with a few images."""
    flowers(tmp_path / "data")
    return tmp_path


@pytest.mark.slow
def test_flowers_with_a_cached_checkpoint(transferkit: RunCommand, mini_flowers: Path) -> None:
    checkpoints = mini_flowers / "torch/hub/checkpoints"
    checkpoints.mkdir(parents=True)
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), checkpoints / RESNET18_FILE)
    arguments = ["dataset=flowers", "backbone=resnet18", "backbone.input_size=64", "strategy=linear_probe"]
    arguments += ["hydra.run.dir=out"]
    done = transferkit(*arguments, cwd=mini_flowers, env={**NO_NETWORK, "TORCH_HOME": str(mini_flowers / "torch")})
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = json.loads((mini_flowers / "out/metrics.json").read_text())
    assert (metrics["dataset"], metrics["backbone"], metrics["weights"]) == ("flowers", "resnet18", "IMAGENET1K_V1")
    assert metrics["stages"]["stage5"]["features"] == 512


def test_without_the_weights_the_message_says_what_to_do(transferkit: RunCommand, mini_flowers: Path) -> None:
    env = {**NO_NETWORK, "TORCH_HOME": str(mini_flowers / "torch")}
    done = transferkit("dataset=flowers", "backbone=resnet50", cwd=mini_flowers, env=env)
    printed = done.stdout + done.stderr
    assert done.returncode == 1
    assert "Traceback" not in printed
    for told in (RESNET50_FILE, str(mini_flowers / "torch/hub/checkpoints"), "backbone.weights=", "resnet_glyphs"):
        assert told in printed
    assert "This works now: python -m transferkit dataset=flowers backbone=efficientnet_lite0" in printed


def test_the_command_that_works_now_keeps_everything_but_the_backbone() -> None:
    given = [
        "-m",
        "dataset=folder",
        "dataset.root=my photos",
        "backbone=resnet18,vgg16",
        "+backbone.kwargs.a=1",
        "seed=1",
    ]
    expected = "python -m transferkit -m dataset=folder 'dataset.root=my photos' seed=1 backbone=efficientnet_lite0"
    assert with_installed_weights(given) == expected


def test_without_the_images_the_message_says_what_to_do(transferkit: RunCommand, tmp_path: Path) -> None:
    done = transferkit("dataset=flowers", cwd=tmp_path, env=NO_NETWORK)
    printed = done.stdout + done.stderr
    assert done.returncode == 1
    assert "Traceback" not in printed
    for told in ("imagelabels.mat", str(tmp_path / "data"), "dataset=digits"):
        assert told in printed
