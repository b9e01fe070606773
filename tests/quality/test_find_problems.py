"""task=check on a folder with planted problems: the table, the page and the figures."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import compose_settings
from tests.quality.planted import write_photos
from tests.report.html_page import Page
from transferkit.cli.check import fit_command, main
from transferkit.cli.job_record import named_choices
from transferkit.data.load_data import load_data
from transferkit.quality.problems import KINDS


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Path], list[dict[str, str]]]:
    """The run directory, the planted files, and the rows of problems.csv."""
    folder = tmp_path_factory.mktemp("check")
    planted = write_photos(folder / "photos")
    given = ["task=check", "dataset=folder", f"dataset.root={folder / 'photos'}", "backbone=resnet_glyphs"]
    settings = compose_settings("linear_probe", *given, "task.pictures=2", "task.outlier=20")
    main({**settings, "overrides": given, "choices": named_choices(given)}, folder / "run")
    with (folder / "run/problems.csv").open(encoding="utf-8", newline="") as file:
        return folder / "run", planted, list(csv.DictReader(file))


def rows_of(checked: Any, kind: str) -> list[dict[str, str]]:
    return [row for row in checked[2] if row["kind"] == kind]


def test_the_same_bytes_are_a_duplicate_and_that_of_test_is_kept(checked):
    (row,) = rows_of(checked, "duplicate")
    assert row["related_image"] == str(checked[1]["same bytes"])
    assert row["image"].endswith("train/red/00.png")
    assert (row["related_split"], row["suggested_label"], row["score"]) == ("test", "", "1")


def test_an_image_saved_again_is_a_near_duplicate_and_a_mirrored_one_is_not(checked):
    pairs = {frozenset((row["image"], row["related_image"])) for row in rows_of(checked, "near_duplicate")}
    root = checked[1]["half"].parent
    names = ("as JPEG", "half", "brighter")
    assert pairs == {frozenset((str(root / f"{i:02}.png"), str(checked[1][name]))) for i, name in enumerate(names, 1)}
    (row,) = [row for row in rows_of(checked, "near_duplicate") if "copy3" in row["image"] + row["related_image"]]
    assert {row["label"], row["suggested_label"]} == {"red", "<b>green & co"}
    assert "two labels" in row["note"]


@pytest.mark.parametrize(("kind", "name"), [("tiny", "tiny"), ("elongated", "elongated"), ("constant", "constant")])
def test_odd_images_are_listed(checked, kind, name):
    assert [row["image"] for row in rows_of(checked, kind)] == [str(checked[1][name])]


def test_a_gray_image_among_coloured_ones_is_listed(checked):
    assert [(row["image"], row["note"]) for row in rows_of(checked, "colour")] == [(str(checked[1]["gray"]), "gray")]


def test_the_page_is_one_file_with_escaped_names_and_few_pictures(checked):
    html = (checked[0] / "check.html").read_text(encoding="utf-8")
    page = Page(html)
    assert "<b>green" not in html
    assert "<b>green & co" in page.text
    assert all(source.startswith("data:") for source in page.values("img", "src"))
    rows = [
        [KINDS[kind].title, *found]
        for kind in KINDS
        if (found := [row[1] for row in page.tables["Summary"] if row[0] == KINDS[kind].title])
    ]
    assert [row[0] for row in rows] == [kind.title for kind in KINDS.values()]
    shown = json.loads((checked[0] / "check.json").read_text(encoding="utf-8"))["counts"]
    pictures = sum(
        min(2, row["all"]) * (1 + ("duplicate" in kind))
        for kind, row in shown.items()
        if "train" in row or "val" in row or "test" in row
    )
    assert len(page.values("img", "src")) == pictures


def test_counts_are_those_of_the_table_and_nothing_was_removed(checked):
    content = json.loads((checked[0] / "check.json").read_text(encoding="utf-8"))
    for kind in KINDS:
        assert content["counts"][kind]["all"] == len(rows_of(checked, kind))
    assert content["counts"]["duplicate"] == {"all": 1, "train": 1, "across_splits": 1, "other_label": 0} or (
        content["counts"]["duplicate"] == {"all": 1, "val": 1, "across_splits": 1, "other_label": 0}
    )
    assert sum(content["images"].values()) == 2 * (14 + 4) + 9
    assert content["probe"]["by"] == "cv"


def test_its_table_can_be_excluded(checked):
    root = checked[1]["half"].parent.parent.parent
    kinds = ["duplicate", "near_duplicate"]
    data = load_data(
        {"kind": "folder", "root": root, "exclude": checked[0] / "problems.csv", "exclude_kinds": kinds}, seed=0
    )
    left = {name for images in data.splits.values() for name in images.names}
    assert len(left) == 2 * (14 + 4) + 9 - 4
    assert not left & {row["image"] for row in checked[2] if row["kind"] in kinds}
    assert str(checked[1]["same bytes"]) in left


def test_the_next_command_keeps_the_data_and_leaves_the_duplicates_out(monkeypatch):
    given = [
        "transferkit",
        "task=check",
        "task.outlier=3",
        "dataset=folder",
        "dataset.root=my photos",
        "hydra.run.dir=x",
    ]
    monkeypatch.setattr("sys.argv", given)
    assert fit_command(Path("run/problems.csv")) == (
        "transferkit dataset=folder 'dataset.root=my photos' dataset.exclude=run/problems.csv "
        "'dataset.exclude_kinds=[duplicate,near_duplicate]'"
    )
