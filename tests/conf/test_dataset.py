"""The YAML files of the `dataset` group."""

from importlib import import_module
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from transferkit.config.dataset_keys import DATASETS, Dataset
from transferkit.data.load_data import KINDS
from transferkit.data.sources.torchvision_table import SETS

FOLDER = Path(__file__).resolve().parents[2] / "conf" / "dataset"
BASE = FOLDER.parent / "shared" / "dataset.yaml"
FILES = sorted(FOLDER.glob("*.yaml"))


def test_shared_keys_have_the_defaults_of_the_schema():
    shared = OmegaConf.to_container(OmegaConf.load(BASE))
    assert shared == {key: field.default for key, field in Dataset.model_fields.items() if key not in ("name", "kind")}


def test_every_torchvision_set_has_a_file():
    assert {path.stem for path in FILES} >= set(SETS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_file(path):
    text = path.read_text()
    comment = text[: text.index("defaults:")]
    assert f"dataset={path.stem}" in comment
    assert "Expected:" in comment
    own = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(own, dict)
    assert own.pop("defaults")[:2] == ["/shared/dataset@_here_", "_self_"]
    assert own["name"] == (None if path.stem in ("folder", "csv") else path.stem)
    assert set(own) - {"name", "kind"} == set(DATASETS[own["kind"]].model_fields) - set(Dataset.model_fields)


def test_every_kind_has_keys_and_a_module():
    assert list(DATASETS) == list(KINDS)
    assert all(callable(import_module(module).load) for module in KINDS.values())
