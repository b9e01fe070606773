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


def write_digits(folder: Path, train: int, test: int) -> None:
    """A table of so many images of two digits."""
    data = tk.load_data({"kind": "digits", "name": "digits"}, seed=0)
    with (folder / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split"])
        for label in (3, 8):
            for i in np.flatnonzero(data.train.labels == label)[: train + test]:
                data.train.image(int(i)).save(folder / f"{i}.png")
                rows = len(list(folder.glob("*.png"))) % (train + test)
                writer.writerow([f"{i}.png", label, "test" if rows < test else "train"])


def test_every_protocol_in_one_table(default_run: Run, transferkit: RunCommand, tmp_path: Path) -> None:
    write_digits(tmp_path, train=2, test=2)
    chosen = "protocol=[center,ten_crop,multi_crop,dense,multi_scale,multi_crop_dense]"
    arguments = ["task=evaluate", f"run={default_run.folder}", "hydra.run.dir=out", chosen]
    done = transferkit(*arguments, "dataset=csv", "dataset.file=table.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    rows = metrics["protocols"]
    assert {name: row["views"] for name, row in rows.items()} == {
        **{"center": 1, "ten_crop": 10, "multi_crop": 100, "dense": 2, "multi_scale": 4, "multi_crop_dense": 104}
    }
    assert metrics["test"] == {key: value for key, value in rows["center"].items() if key not in ("views", "seconds")}
    with (tmp_path / "out/protocols.csv").open(newline="") as file:
        table = {row["protocol"]: row for row in csv.DictReader(file)}
    assert list(table) == list(rows)
    for name, row in rows.items():
        assert float(table[name]["ece"]) == row["ece"]
        assert f"{name:16}  {100 * row['top1']:7.2f} %" in done.stdout


def test_a_fit_is_evaluated_by_the_chosen_protocol(transferkit: RunCommand, tmp_path: Path) -> None:
    write_digits(tmp_path, train=20, test=3)
    chosen = ["protocol=[ten_crop,center]", "protocol.ten_crop.scales=[36]", "backbone=resnet_glyphs"]
    done = transferkit(*chosen, "dataset=csv", "dataset.file=table.csv", "hydra.run.dir=out", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert metrics["protocol"] == "ten_crop"
    assert list(metrics["protocols"]) == ["ten_crop", "center"]
    assert metrics["test"]["nll"] == metrics["protocols"]["ten_crop"]["nll"] != metrics["protocols"]["center"]["nll"]
    assert (tmp_path / "out/protocols.csv").is_file()
