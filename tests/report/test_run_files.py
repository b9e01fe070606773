"""The tables of a run directory."""

import csv
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from transferkit.report.run_files import absolute_paths, summary, write_predictions


def test_predictions_name_the_five_likeliest(tmp_path: Path) -> None:
    classes = [f"class {letter}" for letter in "abcdefg"]
    probabilities = np.array([[0.01, 0.4, 0.09, 0.3, 0.1, 0.05, 0.05]], dtype=np.float32)
    write_predictions(tmp_path / "p.csv", ["a, b.jpg"], np.array([3]), probabilities, classes)
    with (tmp_path / "p.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row == {
        "image": "a, b.jpg",
        "label": "class d",
        "predicted": "class b",
        "confidence": "0.400000",
        "top5": "class b|class d|class e|class c|class f",
        **{name: f"{p:.6f}" for name, p in zip(classes, probabilities[0], strict=True)},
    }


def test_parquet_has_all_probabilities_of_any_number_of_classes(tmp_path: Path) -> None:
    classes = ["image", *(f"class {i}" for i in range(30))]
    probabilities = np.random.default_rng(0).dirichlet(np.ones(31), size=3).astype(np.float32)
    write_predictions(tmp_path / "p.csv", ["a", "caf\udce9", "c"], np.array([3, 0, 2]), probabilities, classes)
    with (tmp_path / "p.csv").open(newline="", errors="surrogateescape") as file:
        assert next(csv.reader(file)) == ["image", "label", "predicted", "confidence", "top5"]
    table = parquet.read_table(tmp_path / "p.parquet").to_pydict()
    assert list(table) == ["image", "label", "predicted", "confidence", "image (class)", *classes[1:]]
    assert table["image"] == ["a", "caf\\udce9", "c"]
    assert table["label"] == ["class 2", "image", "class 1"]
    assert table["predicted"] == [classes[i] for i in probabilities.argmax(axis=1)]
    np.testing.assert_array_equal(np.array(list(table.values())[4:], np.float32).T, probabilities)


def test_recorded_paths_do_not_depend_on_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute_paths({"kind": "folder", "root": "photos", "seed": 0}) == {
        "kind": "folder",
        "root": str(tmp_path / "photos"),
        "seed": 0,
    }


def test_the_summary_shows_paths_that_can_be_copied(tmp_path: Path) -> None:
    scores = {"top1": 0.9, "balanced_accuracy": 0.8, "n": 10}
    metrics = {
        "test": scores,
        "val": scores,
        "strategy": "linear_probe",
        "dataset": "digits",
        "num_classes": 10,
        "backbone": "resnet50",
        "weights": "IMAGENET1K_V2",
        "stages": {"stage5": {}},
        "seconds": {"total": 3.0, "data": 1.0},
    }
    text = summary(metrics, tmp_path)
    assert f"run={tmp_path}" in text
    assert "not finetuned" not in text
    assert "not finetuned: the probe's head was kept" in summary({**metrics, "finetuned": False}, tmp_path)
    assert " 90.00 %" in text
    assert "IMAGENET1K_V2" in text
    assert "stage stage5\n" in text
    assert "   selected" not in text
    several = {"stage4": {"val_top1": 0.95}, "stage5": {"val_top1": 0.9}}
    lines = summary({**metrics, "stages": several, "stage": "stage4"}, tmp_path).splitlines()
    assert lines[1].endswith("stage stage4")
    assert [line.split() for line in lines if line.startswith("    stage")] == [
        ["stage4", "95.00", "%", "selected"],
        ["stage5", "90.00", "%"],
    ]
