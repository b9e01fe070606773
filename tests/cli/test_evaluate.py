"""task=evaluate repeats a run's figures, and takes another data set with the same classes."""

import csv
import json
from pathlib import Path

import numpy as np
from PIL import Image

import transferkit as tk
from tests.conftest import Run, RunCommand


def test_evaluating_gives_the_figures_of_the_run(default_run: Run, transferkit: RunCommand, tmp_path: Path) -> None:
    done = transferkit("task=evaluate", f"run={default_run.folder}", "hydra.run.dir=out", "seed=7", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    again = json.loads((tmp_path / "out/metrics.json").read_text())["test"]
    first = default_run.json("metrics.json")["test"]
    assert again == {**first, "nll": again["nll"], "ece": again["ece"]}
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "transferkit evaluation" in page
    assert f"of {first['n']} test images" in page
    np.testing.assert_allclose([again["nll"], again["ece"]], [first["nll"], first["ece"]], rtol=1e-3)


def test_another_data_set_with_some_of_the_classes(default_run: Run, transferkit: RunCommand, tmp_path: Path) -> None:
    data = tk.load_data({"kind": "digits", "name": "digits"}, seed=0)
    with (tmp_path / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split"])
        for i in range(len(data.test)):
            label = int(data.test.labels[i])
            if label not in (3, 8):
                continue
            data.test.image(i).save(tmp_path / f"{i}.png")
            writer.writerow([f"{i}.png", label, "train" if i % 2 else "test"])
    arguments = ["task=evaluate", f"run={default_run.folder}", "hydra.run.dir=out"]
    done = transferkit(*arguments, "dataset=csv", "dataset.file=table.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((tmp_path / "out/metrics.json").read_text())["test"]["top1"] > 0.9
    with (tmp_path / "out/predictions.csv").open(newline="") as file:
        assert {row["label"] for row in csv.DictReader(file)} == {"3", "8"}


def test_classes_that_the_model_does_not_know(default_run: Run, transferkit: RunCommand, tmp_path: Path) -> None:
    for name in ("train/cat", "train/dog", "test/cat", "test/dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (8, 8), (i, i, i)).save(tmp_path / "pets" / name / f"{i}.png")
    done = transferkit(
        "task=evaluate", f"run={default_run.folder}", "dataset=folder", "dataset.root=pets", cwd=tmp_path
    )
    assert done.returncode == 1
    assert "cat, dog" in done.stdout + done.stderr
