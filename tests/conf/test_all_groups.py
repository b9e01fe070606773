"""Every file of the configuration explains itself and composes; the defaults are those of the contract."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from tests.conftest import REPOSITORY
from transferkit.cli.job import TASKS
from transferkit.cli.job_record import named_choices, resolve

CONF = REPOSITORY / "conf"
FILES = sorted(path for path in CONF.rglob("*.yaml"))
CHOICES = [path for path in FILES if path.parent not in (CONF, CONF / "hydra", CONF / "shared")]
GROUPS = {
    *("task", "dataset", "backbone", "strategy", "augment", "optimizer", "schedule"),
    *("selection", "protocol", "trainer", "logger"),
    "experiment",
}


@pytest.fixture(autouse=True)
def configuration() -> Iterator[None]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def composed(*overrides: str) -> DictConfig:
    return compose("config", overrides=list(overrides), return_hydra_config=True)


def relative(path: Path) -> str:
    return str(path.relative_to(CONF))


def test_the_groups_are_those_of_the_contract() -> None:
    assert {path.parent.name for path in CHOICES} == GROUPS


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_a_file_opens_with_what_it_is_and_a_command(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    comment = lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))]
    assert comment, "no opening comment"
    assert "transferkit" in " ".join(comment), "no command in the opening comment"


@pytest.mark.parametrize("path", [path for path in CHOICES if path.parent.name == "experiment"], ids=relative)
def test_an_experiment_composes(path: Path) -> None:  # test_schema.py composes the choices of the other groups
    assert composed(f"experiment={path.stem}").hydra.runtime.choices.experiment == path.stem


@pytest.mark.parametrize("dataset", ["digits", "glyphs", "fractals"])
def test_bundled_sets_use_the_embedded_network(dataset: str) -> None:
    assert composed(f"dataset={dataset}").hydra.runtime.choices.backbone == "resnet_glyphs"
    assert composed(f"dataset={dataset}", "backbone=vgg16").backbone.name == "vgg16"


@pytest.mark.parametrize("dataset", ["flowers", "folder", "cifar10"])
def test_real_sets_use_the_imagenet_resnet(dataset: str) -> None:
    backbone = composed(f"dataset={dataset}").backbone
    assert (backbone.name, backbone.weights) == ("resnet50", "imagenet")


def test_pretraining_starts_from_random_weights() -> None:
    assert composed("task=pretrain", "backbone=resnet50").backbone.weights is None
    assert composed("task=pretrain", "backbone.weights=IMAGENET1K_V1").backbone.weights == "IMAGENET1K_V1"


def test_every_task_has_a_file() -> None:
    assert {path.stem for path in (CONF / "task").glob("*.yaml")} == set(TASKS)


def test_the_run_directory_names_what_was_run() -> None:
    cfg = composed("dataset=flowers", "backbone=vgg16")
    pattern = OmegaConf.to_container(cfg.hydra.run, resolve=False)
    assert isinstance(pattern, dict)
    assert pattern["dir"].startswith("runs/${path_name:dataset}/${path_name:backbone}/${path_name:strategy}/${now:")
    assert cfg.hydra.job.name == "transferkit"


def test_missing_values_are_named() -> None:
    cfg = OmegaConf.create({"dataset": {"root": "???"}, "backbone": {"name": "???"}})
    with pytest.raises(ValueError, match=r"backbone\.name=\.\.\. dataset\.root=\.\.\."):
        resolve(cfg)


def test_which_groups_were_named_on_the_command_line() -> None:
    overrides = ["dataset=csv", "dataset.file=t.csv", "+backbone.kwargs.pad_type=same", "seed=1", "~logger"]
    assert named_choices(overrides) == ["backbone", "dataset", "logger", "seed"]
