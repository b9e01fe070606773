"""backbones=[...]: what task=advise and strategy=auto go on with."""

import json
from pathlib import Path

import pytest

from tests.conftest import RunCommand, compose_settings
from transferkit.advisor.network_table import write_networks
from transferkit.advisor.networks import load_networks
from transferkit.cli import pick_network as module
from transferkit.cli.advise import fit_command
from transferkit.cli.pick_network import backbone_arguments, pick_network
from transferkit.data.imagedata import ImageData
from transferkit.data.load_data import load_data
from transferkit.errors import TransferkitError


@pytest.fixture
def digits() -> ImageData:
    return load_data({"kind": "digits", "name": "digits", "per_class": 6, "max_test": 20}, seed=0)


@pytest.mark.slow
def test_advise_and_auto_go_on_with_the_chosen_network(transferkit: RunCommand, tmp_path: Path) -> None:
    arguments = ["dataset.per_class=6", "dataset.max_test=20", "trainer.num_workers=0", "selection.repeats=1"]
    arguments += ["backbones=[narrow_resnet10,resnet_glyphs]"]
    done = transferkit("task=advise", *arguments, "hydra.run.dir=advise", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "python -m transferkit dataset.per_class=6" in done.stdout
    assert "backbone=resnet_glyphs strategy=" in done.stdout
    advice = json.loads((tmp_path / "advise/advice.json").read_text(encoding="utf-8"))
    assert (advice["networks"]["used"], advice["weights"]) == ("resnet_glyphs", "resnet_glyphs")
    assert 'id="networks"' in (tmp_path / "advise/report.html").read_text(encoding="utf-8")
    assert len((tmp_path / "advise/networks.csv").read_text(encoding="utf-8").splitlines()) == 3

    done = transferkit("strategy=auto", "strategy.auto.trials=false", *arguments, "hydra.run.dir=auto", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = json.loads((tmp_path / "auto/metrics.json").read_text(encoding="utf-8"))
    assert metrics["networks"]["used"] == metrics["weights"] == "resnet_glyphs"
    assert 'id="networks"' in (tmp_path / "auto/advice.html").read_text(encoding="utf-8")


def test_a_resumed_fit_keeps_its_network(digits: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["resnet_glyphs", "resnet_fractals"]
    settings = compose_settings("auto", f"backbones=[{','.join(names)}]")
    compared = {"names": names, "seed": 0, "dataset": "digits", "max_images": 20000}
    write_networks(tmp_path, {"networks": [], "left_out": {}, "used": "resnet_fractals", "compared": compared})
    monkeypatch.setattr(module, "compare_networks", None)  # not called
    assert pick_network(settings, digits, tmp_path).weights_name == "resnet_fractals"


def test_one_network_and_several_contradict_each_other(digits: ImageData, tmp_path: Path) -> None:
    settings = {**compose_settings("auto", "backbones=[resnet_glyphs]"), "choices": ["backbone", "backbones"]}
    with pytest.raises(TransferkitError, match="in place of backbone"):
        pick_network(settings, digits, tmp_path)


def test_the_next_command_names_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["x", "task=advise", "backbones=[resnet18,resnet_glyphs]", "dataset=digits"])
    network = load_networks(["resnet_glyphs"])[0]["resnet_glyphs"]
    assert fit_command("auto", backbone_arguments("resnet_glyphs", network)) == (
        "python -m transferkit dataset=digits backbone=resnet_glyphs strategy=auto"
    )
    assert backbone_arguments("narrow_unknown", network) == ["backbone=embedded", "backbone.name=narrow_unknown"]
