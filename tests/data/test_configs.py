"""The YAML files of the `dataset` group."""

from importlib import import_module
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from transferkit.data.load_data import COMMON, KINDS
from transferkit.data.sources.torchvision_table import SETS

FOLDER = Path(__file__).resolve().parents[2] / "conf" / "dataset"
BASE = FOLDER / "base.yaml"
FILES = sorted(path for path in FOLDER.glob("*.yaml") if path != BASE)


def test_base_holds_the_defaults_of_the_code():
    base = OmegaConf.to_container(OmegaConf.load(BASE))
    assert base == {key: value for key, value in COMMON.items() if key not in ("name", "kind")}


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
    assert own.pop("defaults")[:2] == ["base", "_self_"]
    assert own["name"] == path.stem
    assert set(own) - {"name", "kind"} == set(import_module(KINDS[own["kind"]]).DEFAULTS)
