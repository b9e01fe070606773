"""Class names in one cell."""

import csv

import numpy as np
import pytest

from transferkit.report.run_files import write_predictions
from transferkit.report.top5 import join_names, split_names

NAMES = ["a|b", "a", "b", "\\", "\\|", "", " ", 'q"uo,te', "two\nlines", "x\\", "|", "ü\udcff"]


def test_ordinary_names_look_as_they_are() -> None:
    assert join_names(["ant", "bee, wild", "C c"]) == "ant|bee, wild|C c"


@pytest.mark.parametrize("first", range(len(NAMES)))
def test_every_name_reads_back(first: int) -> None:
    names = NAMES[first:] + NAMES[:first]
    assert split_names(join_names(names)) == names


def test_an_escape_without_an_end_is_an_error() -> None:
    with pytest.raises(ValueError, match="not a list of class names"):
        split_names("a|b\\")


def test_predictions_read_back_whatever_the_classes_are_called(tmp_path) -> None:
    probabilities = np.random.default_rng(0).dirichlet(np.ones(len(NAMES)), 50).astype(np.float32)
    labels = np.arange(50) % len(NAMES)
    write_predictions(tmp_path / "p.csv", [f"{i}.jpg" for i in range(50)], labels, probabilities, NAMES)
    with (tmp_path / "p.csv").open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = list(csv.DictReader(file))
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :5]
    assert [split_names(row["top5"]) for row in rows] == [[NAMES[i] for i in order] for order in best]
    assert [row["label"] for row in rows] == [NAMES[i] for i in labels]
