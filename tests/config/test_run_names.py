"""Names of runs: by the folder's name, as a safe part of a path."""

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from transferkit.config.run_names import LONGEST, dataset_name, path_name, path_part


@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        ({"kind": "folder", "root": "data/birds"}, "birds"),
        ({"kind": "folder", "root": "data/birds/"}, "birds"),
        ({"kind": "folder", "root": Path("/data/my photos")}, "my photos"),
        ({"kind": "folder", "root": 2024}, "2024"),
        ({"kind": "folder", "root": "data/birds/.."}, "data"),
        ({"kind": "folder", "root": "/"}, "folder"),
        ({"kind": "folder", "root": None}, "folder"),
        ({"kind": "folder", "root": "x\0y"}, "folder"),
        ({"kind": "folder", "root": "data/birds", "name": "mine"}, "mine"),
        ({"kind": "csv", "file": "tables/scans.v2.csv"}, "scans.v2"),
        ({"kind": "digits"}, "digits"),
        ({"kind": "torchvision", "root": "data", "name": "flowers"}, "flowers"),
    ],
)
def test_a_data_set_is_called_by_its_folder(dataset: dict[str, Any], name: str) -> None:
    assert dataset_name(dataset) == name


def test_the_working_folder_has_a_name_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert dataset_name({"kind": "folder", "root": "."}) == tmp_path.name


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("birds", "birds"),
        ("my photos (1)", "my_photos__1_"),
        ("../../etc", "_.._etc"),
        ("..", "unnamed"),
        ("", "unnamed"),
        (".hidden", "hidden"),
        ("a/b\\c\n", "a_b_c_"),
        ("Vögel", "Vögel"),
        ("x" * 500, "x" * LONGEST),
    ],
)
def test_a_name_is_one_safe_part_of_a_path(name: str, part: str) -> None:
    assert path_part(name) == part
    assert len(path_part("ä" * 500).encode()) <= LONGEST


def test_a_group_that_is_missing_does_not_fail() -> None:
    cfg = OmegaConf.create({"dataset": {"kind": "folder", "root": "???", "name": None}, "backbone": None})
    assert path_name("dataset", _root_=cfg) == "folder"
    assert path_name("backbone", _root_=cfg) == "no_backbone"
    assert path_name("strategy", _root_=cfg) == "no_strategy"
