"""Ensembles from the command line: of seeds, resumed; joined runs; soups; their use."""

import csv
import json
import shutil
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import transferkit as tk
from tests.conftest import QUICK, RunCommand
from transferkit.models.ensemble import EnsembleModel

FIT = (
    *("strategy=from_scratch", "strategy.phases.all.epochs=1", "strategy.phases.all.min_steps=0", "selection=last"),
    *("dataset=csv", "dataset.file=table.csv", "backbone=resnet_glyphs", "calibrate.known=null", *QUICK),
)


@pytest.fixture(scope="module")
def folder(transferkit: RunCommand, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of some digits, and an ensemble of two networks that were trained on them."""
    where = tmp_path_factory.mktemp("ensembles")
    data = tk.load_data({"kind": "digits", "name": "digits"}, seed=0)
    with (where / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split"])
        for label in (3, 8):
            for number, i in enumerate(np.flatnonzero(data.train.labels == label)[:24]):
                data.train.image(int(i)).save(where / f"{i}.png")
                writer.writerow([f"{i}.png", label, ("train", "train", "val", "test")[number % 4]])
    done = transferkit(*FIT, "ensemble=2", "hydra.run.dir=seeds", cwd=where)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "gain" in done.stdout
    return where


def metrics(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return found


def table_of(folder: Path) -> list[list[str]]:
    with (folder / "predictions.csv").open(newline="") as file:
        return list(csv.reader(file))[1:]


def test_an_ensemble_of_seeds(folder: Path, transferkit: RunCommand) -> None:
    found, parts = metrics(folder / "seeds"), [metrics(folder / f"seeds/members/{i}") for i in (1, 2)]
    own = [part["test"]["top1"] for part in parts]
    assert [part["seed"] for part in parts] == [0, 1]
    ensemble = found["ensemble"]
    assert "Members of the ensemble" in (folder / "seeds/report.html").read_text(encoding="utf-8")
    assert ensemble["mean_top1"] == pytest.approx(np.mean(own))
    assert ensemble["gain_over_best"] == pytest.approx(found["test"]["top1"] - max(own))
    assert found["strategy"] == "from_scratch"
    assert found["val"]["n"] == 12
    predicted = [[row[2] for row in table_of(folder / f"seeds/members/{i}")] for i in (1, 2)]
    pairs = [np.mean([one != other for one, other in zip(*pair, strict=True)]) for pair in combinations(predicted, 2)]
    assert ensemble["disagreement"] == pytest.approx(np.mean(pairs))
    model = tk.load_model(folder / "seeds")
    assert isinstance(model, EnsembleModel)
    images = [row[0] for row in table_of(folder / "seeds")]
    each = [member.predict(images) for member in model.models]
    mean = np.mean([[p.probabilities for p in predictions] for predictions in each], axis=0)
    assert [row[2] for row in table_of(folder / "seeds")] == [model.class_names[k] for k in mean.argmax(axis=1)]
    assert not np.allclose(each[0][0].probabilities, each[1][0].probabilities)


def test_members_that_are_done_are_kept(folder: Path, transferkit: RunCommand) -> None:
    shutil.copytree(folder / "seeds", folder / "again")
    shutil.rmtree(folder / "again/members/2")
    kept = (folder / "again/members/1/model.json").read_bytes()
    done = transferkit(*FIT, "ensemble=2", "hydra.run.dir=again", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Member 1, seed 0, is fitted already." in done.stdout
    assert (folder / "again/members/1/model.json").read_bytes() == kept
    assert metrics(folder / "again")["test"] == metrics(folder / "seeds")["test"]
    done = transferkit(*FIT, "ensemble=2", "hydra.run.dir=again", "optimizer.lr_scale=2", cwd=folder)
    assert done.returncode == 1
    assert "optimizer.lr_scale" in done.stdout + done.stderr


def test_joined_runs_are_evaluated_and_predict(folder: Path, transferkit: RunCommand) -> None:
    probe = ("strategy=linear_probe", "selection=val", "seed=0", *FIT[4:])
    done = transferkit(*probe, "hydra.run.dir=probe", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    done = transferkit("task=fuse", "runs=[seeds,probe]", "hydra.run.dir=joined", *QUICK, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    found = metrics(folder / "joined")
    assert len(found["ensemble"]["members"]) == 3
    shutil.move(folder / "probe", folder / "moved")  # the ensemble has copies
    done = transferkit("task=evaluate", "run=joined", "hydra.run.dir=judged", *QUICK, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert metrics(folder / "judged")["test"]["nll"] == pytest.approx(found["test"]["nll"], rel=1e-4)
    images = sorted(str(path) for path in folder.glob("*.png"))[0]
    done = transferkit("task=predict", "run=joined", f"images={images}", "hydra.run.dir=told", *QUICK, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert table_of(folder / "told")[0][1] in ("3", "8")


def test_soups(folder: Path, transferkit: RunCommand) -> None:
    """Networks from scratch have no initialisation in common; two rates of one seed have."""
    done = transferkit("task=fuse", "runs=seeds", "task.how=uniform_soup", cwd=folder)
    assert done.returncode == 1
    assert "random weights of its own seed" in done.stdout + done.stderr
    done = transferkit(*FIT, "optimizer.lr_scale=0.5", "hydra.run.dir=slow", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    for how in ("uniform_soup", "greedy_soup"):
        chosen = ["task=fuse", "runs=[seeds/members/1,slow]", f"task.how={how}", f"hydra.run.dir={how}", *QUICK]
        done = transferkit(*chosen, cwd=folder)
        assert done.returncode == 0, done.stdout + done.stderr
        assert metrics(folder / how)["ensemble"]["networks"] == 1
        assert not isinstance(tk.load_model(folder / how), EnsembleModel)
    assert metrics(folder / "greedy_soup")["ensemble"]["kept"]


def test_runs_of_other_splits_are_refused(folder: Path, transferkit: RunCommand) -> None:
    shutil.copytree(folder / "seeds/members/1", folder / "other")
    text = (folder / "other/split.csv").read_text()
    (folder / "other/split.csv").write_text(
        text.replace(",test", ",swap").replace(",train", ",test").replace(",swap", ",train")
    )
    done = transferkit("task=fuse", "runs=[seeds/members/2,other]", cwd=folder)
    assert done.returncode == 1
    assert "12 of the test images" in done.stdout + done.stderr
