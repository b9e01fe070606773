"""The run directory that a fit leaves, held against scikit-learn and the model itself."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import balanced_accuracy_score, log_loss, top_k_accuracy_score

import transferkit as tk
from tests.conftest import Run

DIGITS = {"kind": "digits", "name": "digits"}


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_file_of_the_contract_is_there(default_run: Run) -> None:
    names = {path.name for path in default_run.folder.iterdir()}
    assert {
        "metrics.json",
        "predictions.csv",
        "model.safetensors",
        "model.json",
        "report.html",
        "status.json",
        "split.csv",
        ".hydra",
        "transferkit.log",
    } <= names
    assert not [name for name in names if name.startswith(".") and name not in (".hydra", ".lock")]
    assert default_run.json("status.json")["status"] == "done"


def test_metrics_have_the_keys_of_the_contract(default_run: Run) -> None:
    metrics = default_run.json("metrics.json")
    scores = {"top1", "top5", "balanced_accuracy", "nll", "ece", "n"}
    assert set(metrics["test"]) == set(metrics["val"]) == scores
    assert {"total", "data", "extract", "fit", "evaluate"} <= set(metrics["seconds"])
    assert metrics["seconds"]["total"] >= sum(v for k, v in metrics["seconds"].items() if k != "total")
    assert (metrics["strategy"], metrics["dataset"], metrics["num_classes"]) == ("linear_probe", "digits", 10)
    nothing = {"test_in_train": 0, "test_in_val": 0, "val_in_train": 0, "other_label": 0, "examples": []}
    assert metrics["data"] == {"ignored_files": {}, "left_out": 0, "identical": nothing}
    (stage,) = metrics["stages"]
    features = metrics["stages"][stage]["features"]
    assert metrics["trainable_parameters"] == 10 * (features + 1)
    model = tk.load_model(default_run.folder)
    assert metrics["total_parameters"] == sum(p.numel() for p in model.parameters())


def test_the_default_is_worth_its_time(default_run: Run) -> None:
    assert default_run.json("metrics.json")["test"]["top1"] >= 0.98
    assert default_run.json("metrics.json")["weights"] == "resnet_glyphs"


def test_the_saved_model_gives_what_the_run_reported(default_run: Run) -> None:
    data = tk.load_data(DIGITS, seed=0)
    model = tk.load_model(default_run.folder)
    predictions = model.predict([image for image, _ in (data.test[i] for i in range(len(data.test)))])
    probabilities = np.stack([p.probabilities for p in predictions])
    metrics = default_run.json("metrics.json")
    reported, labels = metrics["test"], data.test.labels
    rounding = 1e-4 if metrics["precision"] == "fp32" else 0.03  # the loaded model computes in fp32
    predicted = probabilities.argmax(axis=1)
    assert (predicted == labels).mean() == pytest.approx(reported["top1"], abs=1e-9)
    assert top_k_accuracy_score(labels, probabilities, k=5) == pytest.approx(reported["top5"], abs=1e-9)
    assert balanced_accuracy_score(labels, predicted) == pytest.approx(reported["balanced_accuracy"], abs=1e-9)
    assert log_loss(labels, probabilities) == pytest.approx(reported["nll"], rel=10 * rounding)
    table = rows_of(default_run.folder / "predictions.csv")
    assert [row["predicted"] for row in table] == [p.label for p in predictions]
    assert [row["label"] for row in table] == [data.class_names[label] for label in labels]
    assert [float(row["confidence"]) for row in table] == pytest.approx(
        [p.confidence for p in predictions], abs=rounding
    )
    assert all(row["top5"].split("|")[0] == row["predicted"] for row in table)


def test_no_test_image_is_in_another_split(default_run: Run) -> None:
    table = rows_of(default_run.folder / "split.csv")
    assert len(table) == len({row["path"] for row in table}) == 1797
    assert {row["split"] for row in table} == {"train", "val", "test"}


def test_the_artifact_names_everything_that_predicting_needs(default_run: Run) -> None:
    artifact = default_run.json("model.json")
    assert artifact["class_names"] == [str(digit) for digit in range(10)]
    assert artifact["format"] == 2
    assert {"backbone", "stage", "head", "preprocessing", "versions", "dataset", "seed"} <= set(artifact)


def test_the_page_is_complete_and_needs_no_network(default_run: Run) -> None:
    page = (default_run.folder / "report.html").read_text(encoding="utf-8")
    assert "digits" in page
    assert "linear_probe" in page
    assert 'src="http' not in page
    assert 'href="http' not in page


def test_predictions_do_not_depend_on_the_batch(default_run: Run) -> None:
    model = tk.load_model(default_run.folder)
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 255, (20 + i, 30, 3), dtype=np.uint8)) for i in range(5)]
    together = np.stack([p.probabilities for p in model.predict(images, batch_size=5)])
    alone = np.stack([p.probabilities for p in model.predict(images, batch_size=1)])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_settings_are_recorded_as_plain_json(default_run: Run) -> None:
    assert json.dumps(default_run.json("model.json")["dataset"])
    assert default_run.json("model.json")["dataset"]["kind"] == "digits"
