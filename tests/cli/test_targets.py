"""Several labels, numbers and ordered classes through the commands: fit, evaluate, predict; what they cannot do."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import transferkit as tk
from tests.conftest import QUICK, RunCommand
from tests.report.html_page import Page
from tests.targets.tables import write_digits

IMAGES = 160
KEYS = {
    "multilabel": ("dataset.target=multilabel", "dataset.label_column=labels"),
    "regression": ("dataset.target=regression", "dataset.label_column=ink"),
    "ordinal": ("dataset.target=ordinal", "dataset.label_column=size", "dataset.order=[low,middle,high]"),
}
STRATEGIES = {
    "multilabel": ("strategy=stage_probe", "strategy.probe.stages=[stage4,stage5]", "selection=val"),
    "regression": ("strategy=concat_probe", "strategy.probe.stages=[stage1,stage2]", "selection.repeats=1"),
    "ordinal": ("strategy=linear_probe", "strategy.probe.class_weights=balanced", "selection.repeats=1"),
}
NETWORK = ("dataset=csv", "dataset.file=table.csv", "backbone=resnet_glyphs", *QUICK)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digits(tmp_path_factory.mktemp("targets"), IMAGES).parent


@pytest.fixture(scope="module")
def runs(folder: Path, transferkit: RunCommand) -> dict[str, Path]:
    """A probe of each kind."""
    for kind, keys in KEYS.items():
        where = f"hydra.run.dir={kind}"
        done = transferkit(*NETWORK, *keys, *STRATEGIES[kind], "strategy.probe.Cs=6", where, cwd=folder)
        assert done.returncode == 0, done.stdout + done.stderr
    return {kind: folder / kind for kind in KEYS}


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_figures(runs: dict[str, Path]) -> None:
    test = {kind: read(run / "metrics.json")["test"] for kind, run in runs.items()}
    assert test["multilabel"]["map"] > 0.9
    assert set(test["multilabel"]["per_label"]) == {"even", "large", "round"}
    assert test["regression"]["r2"] > 0.6
    assert test["ordinal"]["quadratic_kappa"] > 0.8
    metrics = read(runs["multilabel"] / "metrics.json")
    assert {"val_map", "val_loss", "C", "features"} <= set(metrics["stages"]["stage4"])
    assert metrics["target"] == {"kind": "multilabel", "names": ["even", "large", "round"]}
    assert metrics["selection"]["by"] == "val"


def test_the_report_has_what_suits_and_no_more(runs: dict[str, Path]) -> None:
    pages = {kind: (run / "report.html").read_text(encoding="utf-8") for kind, run in runs.items()}
    assert "Metrics per label" in pages["multilabel"]
    assert "Confusion matrix" not in pages["multilabel"]
    assert "Predicted against true" in pages["regression"]
    assert "Confusion matrix" not in pages["regression"]
    assert "Confusion matrix" in pages["ordinal"]
    assert "data:image/png" in pages["regression"]
    rows = Page(pages["multilabel"]).tables["Metrics per label"]
    assert sorted(row[0] for row in rows) == ["Label", "even", "large", "round"]
    assert [row[0] for row in Page(pages["ordinal"]).tables["Confusion matrix"][1:]] == ["low", "middle", "high"]
    assert "Accuracy by stage" not in pages["multilabel"]
    for page in pages.values():
        assert "Regularisation" in page
        assert "Calibration" not in page


def test_tables_of_test_images(runs: dict[str, Path]) -> None:
    rows = {kind: table(run / "predictions.csv") for kind, run in runs.items()}
    assert list(rows["multilabel"][0]) == ["image", "label", "predicted", "even", "large", "round"]
    for row in rows["multilabel"]:
        assert row["predicted"].split(";") == [n for n in ("even", "large", "round") if float(row[n]) >= 0.5] or [""]
    assert list(rows["regression"][0]) == ["image", "true ink", "ink"]
    errors = [float(row["true ink"]) - float(row["ink"]) for row in rows["regression"]]
    mae = read(runs["regression"] / "metrics.json")["test"]["mae"]
    assert np.abs(errors).mean() == pytest.approx(mae, rel=1e-4)
    assert list(rows["ordinal"][0]) == ["image", "label", "predicted", "confidence", "low", "middle", "high"]


@pytest.mark.parametrize("kind", KEYS)
def test_evaluate_and_the_library_give_the_same(runs: dict[str, Path], transferkit: RunCommand, kind: str) -> None:
    run = runs[kind]
    protocols = "protocol=[center,dense]"
    done = transferkit("task=evaluate", f"run={run}", protocols, "hydra.run.dir=evaluated", *QUICK, cwd=run)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()[-5:-2]] == ["protocol", "center", "dense"]
    metrics, again = (read(folder / "metrics.json")["test"] for folder in (run, run / "evaluated"))
    assert again == pytest.approx(metrics) if kind == "ordinal" else again["loss"] == pytest.approx(metrics["loss"])
    rows = table(run / "predictions.csv")[:5]
    model = tk.load_model(run)
    for row, found in zip(rows, model.predict([row["image"] for row in rows]), strict=True):
        if kind == "regression":
            assert found.value == pytest.approx(float(row["ink"]), abs=1e-3)
        elif kind == "multilabel":
            assert ";".join(found.labels) == row["predicted"]
        else:
            assert found.label == row["predicted"]
            assert found.probabilities.sum() == pytest.approx(1, abs=1e-5)


def test_predict(runs: dict[str, Path], transferkit: RunCommand, folder: Path, tmp_path: Path) -> None:
    pattern = f"images={folder}/images/1?.png"
    done = transferkit("task=predict", f"run={runs['multilabel']}", pattern, "hydra.run.dir=out", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = table(tmp_path / "out/predictions.csv")
    assert len(rows) == 10
    assert list(rows[0]) == ["image", "predicted", "known", "distance", "even", "large", "round"]
    assert rows[0]["predicted"] in done.stdout
    done = transferkit("task=predict", f"run={runs['regression']}", pattern, "task.coverage=0.9", cwd=tmp_path)
    assert done.returncode == 1
    assert "coverage is for models of classes; this one predicts 1 value (ink)" in done.stdout + done.stderr


@pytest.mark.parametrize(("kind", "head"), [("regression", "random"), ("ordinal", "probe")])
def test_finetuning(folder: Path, transferkit: RunCommand, tmp_path: Path, kind: str, head: str) -> None:
    done = transferkit(
        *(*NETWORK, *KEYS[kind], "strategy=finetune_few", f"strategy.head={head}", f"dataset.file={folder}/table.csv"),
        *("strategy.phases.tail.epochs=1", "strategy.phases.tail.min_steps=5", "augment=none", "selection=last"),
        "hydra.run.dir=out",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = table(tmp_path / "out/history.csv")
    assert "val_top1" not in row
    metrics = read(tmp_path / "out/metrics.json")
    # Up to contradictions between the boundaries of ordered classes, which only the outputs resolve.
    assert float(row["val_loss"]) == pytest.approx(metrics["val"]["loss"], rel=1e-2)
    assert "Loss over the epochs" in (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert read(tmp_path / "out/model.json")["target"]["kind"] == kind


def outputs_of(path: Path, *names: str) -> np.ndarray:
    return np.array([[float(row[name]) for name in names] for row in table(path)])


def test_an_ensemble_of_numbers(folder: Path, transferkit: RunCommand, tmp_path: Path) -> None:
    done = transferkit(
        *(*NETWORK, *KEYS["regression"], "strategy=finetune_few", "strategy.head=random", "ensemble=2"),
        *("strategy.phases.tail.epochs=1", "strategy.phases.tail.min_steps=5", "augment=none", "selection=last"),
        *(f"dataset.file={folder}/table.csv", "protocol=[center,ten_crop]", "hydra.run.dir=out"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found, parts = (read(path / "metrics.json") for path in (tmp_path / "out", tmp_path / "out/members/1"))
    each = [outputs_of(tmp_path / f"out/members/{i}/predictions.csv", "ink") for i in (1, 2)]
    mean = outputs_of(tmp_path / "out/predictions.csv", "ink")
    np.testing.assert_allclose(mean, np.mean(each, axis=0), rtol=1e-4)
    assert found["ensemble"]["disagreement"] == pytest.approx(np.abs(each[0] - each[1]).mean(), rel=1e-3)
    assert found["ensemble"]["gain_over_mean"] == pytest.approx(found["test"]["r2"] - found["ensemble"]["mean_r2"])
    assert found["ensemble"]["members"][0]["test"]["mae"] == pytest.approx(parts["test"]["mae"])
    assert "of R² over the mean of the members" in done.stdout
    assert Page((tmp_path / "out/report.html").read_text(encoding="utf-8")).tables["Members"][1][0] == "seed 0"
    model, image = tk.load_model(tmp_path / "out"), table(tmp_path / "out/predictions.csv")[0]
    (prediction,) = model.predict([image["image"]])
    assert prediction.value == pytest.approx(float(image["ink"]), abs=1e-3)


def test_joined_models_of_several_labels(runs: dict[str, Path], folder: Path, transferkit: RunCommand) -> None:
    names, where = ("even", "large", "round"), (*NETWORK, *KEYS["multilabel"], "strategy.probe.Cs=6", "selection=val")
    done = transferkit(*where, "strategy=linear_probe", "hydra.run.dir=top", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    joined = ("task=fuse", f"runs=[{runs['multilabel']},top]", *QUICK)
    done = transferkit(*joined, "hydra.run.dir=joined", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    each = [outputs_of(run / "predictions.csv", *names) for run in (runs["multilabel"], folder / "top")]
    mean = outputs_of(folder / "joined/predictions.csv", *names)
    np.testing.assert_allclose(mean, np.mean(each, axis=0), atol=1e-5)
    found = read(folder / "joined/metrics.json")
    differ = ((each[0] >= 0.5) != (each[1] >= 0.5)).mean()
    assert found["ensemble"]["disagreement"] == pytest.approx(differ)
    members = [member["test"]["map"] for member in found["ensemble"]["members"]]
    assert found["ensemble"]["mean_map"] == pytest.approx(np.mean(members))
    done = transferkit("task=evaluate", "run=joined", "hydra.run.dir=judged", *QUICK, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert read(folder / "judged/metrics.json")["test"]["map"] == pytest.approx(found["test"]["map"])


def test_a_soup_of_ordered_classes(runs: dict[str, Path], folder: Path, transferkit: RunCommand) -> None:
    keys = (*NETWORK, *KEYS["ordinal"], "strategy.probe.Cs=6", "selection=val")
    for number in (1, 2):
        weights = f"strategy.probe.class_weights={('none', 'balanced')[number - 1]}"
        done = transferkit(*keys, "strategy=linear_probe", weights, f"hydra.run.dir=ordered{number}", cwd=folder)
        assert done.returncode == 0, done.stdout + done.stderr
    joined = ("task=fuse", "runs=[ordered1,ordered2]", "task.how=greedy_soup", "hydra.run.dir=soup", *QUICK)
    done = transferkit(*joined, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    found, parts = read(folder / "soup/metrics.json"), [read(folder / f"ordered{i}/metrics.json") for i in (1, 2)]
    assert found["val"]["loss"] <= min(part["val"]["loss"] for part in parts) + 1e-6
    assert read(folder / "soup/model.json")["target"] == {"kind": "ordinal"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("strategy=auto",), "strategy=auto is for classes"),
        (("strategy=nearest_neighbor",), "strategy=nearest_neighbor is for classes"),
        (("strategy.solver=gradient",), "use strategy.solver=exact (dataset.target=regression)"),
        (("strategy.probe.classifiers=[discriminant]",), "it is fitted by ridge"),
        (("strategy=finetune_few", "strategy.mixup=0.2"), "strategy.mixup mixes classes or labels"),
        (("strategy=finetune_few", "strategy.class_weights=balanced"), "is for finetuning on classes"),
        (("strategy=finetune_few", "strategy.distill.teacher=probe"), "strategy.distill has probabilities of classes"),
        (("strategy=finetune_few", "strategy.wise_ft=auto"), "strategy.wise_ft is for finetuning on classes"),
        (("task=check",), "task=check needs classes, and dataset.target=regression has none"),
        (("task=advise",), "task=advise needs classes"),
    ],
)
def test_what_needs_classes_says_so(folder: Path, transferkit: RunCommand, arguments, message: str) -> None:
    done = transferkit(*NETWORK, *KEYS["regression"], *arguments, "hydra.run.dir=refused", cwd=folder)
    assert done.returncode == 1
    assert message in done.stdout + done.stderr


def test_export(runs: dict[str, Path], transferkit: RunCommand, folder: Path) -> None:
    run, test = runs["regression"], read(runs["regression"] / "metrics.json")["test"]
    done = transferkit(
        "task=export", f"run={run}", "export.format=onnx", "export.int8=true", "hydra.run.dir=exported", cwd=folder
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 value (ink)" in done.stdout
    assert "largest difference of a value, in standard deviations" in done.stdout
    facts = read(folder / "exported/export.json")
    assert facts["test"]["model.onnx"]["r2"] == pytest.approx(test["r2"], abs=1e-4)
    assert f"test R² {facts['test']['model_int8.onnx']['r2']:8.3f} on {test['n']} images" in done.stdout


def test_compare_leaves_them_out_with_a_reason(runs: dict[str, Path], transferkit: RunCommand, folder: Path) -> None:
    done = transferkit("task=compare", f"runs={runs['ordinal']}", "hydra.run.dir=compared", cwd=folder)
    assert done.returncode == 1
    assert "task=compare is for classes, and this run has dataset.target=ordinal" in done.stdout + done.stderr


def test_evaluate_on_labels_of_another_kind(runs: dict[str, Path], transferkit: RunCommand, folder: Path) -> None:
    keys = ("dataset=csv", "dataset.file=table.csv", "dataset.label_column=digit")
    done = transferkit("task=evaluate", f"run={runs['ordinal']}", *keys, "hydra.run.dir=other", cwd=folder)
    assert done.returncode == 1
    assert "set dataset.target=ordinal" in done.stdout + done.stderr
