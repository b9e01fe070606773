"""The command line as a user meets it: exit status, one message, what is written."""

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

import transferkit as tk
from tests.conftest import Run, RunCommand
from transferkit.config.compose import config_dir
from transferkit.config.explain import explain


def test_configuration_is_found_beside_the_package_in_a_checkout() -> None:
    assert (config_dir() / "config.yaml").is_file()


def test_default_run_says_what_a_person_needs(default_run: Run) -> None:
    top1 = default_run.json("metrics.json")["test"]["top1"]
    assert f"{100 * top1:.2f} %" in default_run.output
    assert "report.html" in default_run.output
    assert "task=predict" in default_run.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["backbone=timm"], ["backbone.name"]),
        (["backbone=resnet5O"], ["Did you mean resnet50"]),
        (["backbone=null"], ["backbone=null", "resnet50"]),
        (["experiment=typo"], ["experiment=typo", "bakeoff"]),
        (["predict"], ["RUN_DIR is missing", "transferkit predict RUN_DIR IMAGES"]),
        (["fti", "photos"], ["Did you mean transferkit fit?"]),
        (["fit", "nowhere"], ["nowhere: there is no such folder"]),
        (["+trainer.batchsize=8"], ["Did you mean trainer.batch_size?"]),
        (["optimizer.lr_scale=-1"], ["optimizer.lr_scale=-1 must be a number above 0"]),
        (["sed=1"], ["sed: there is no such key. Did you mean seed?"]),
        (["task=predict", "images=my photos (1)"], ["images=my photos (1)", "quotes"]),
        (["strategy=nothing"], ["nothing", "linear_probe"]),
        (["dataset=folder"], ["dataset.root"]),
        (["dataset=folder", "dataset.root=nowhere"], ["dataset.root", "nowhere"]),
        (["task=predict"], ["run="]),
        (["task=compare"], ["runs=DIR"]),
        (["task=compare", "runs=nowhere"], ["runs=nowhere", "no such folder"]),
        (["task=evaluate", "run=nowhere"], ["nowhere"]),
        (["backbone.weights=no/such/file.pth"], ["no/such/file.pth"]),
        (["trainer.device=abacus"], ["abacus"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_a_mistake_gets_one_message_and_no_traceback(
    transferkit: RunCommand, tmp_path: Path, arguments: list[str], told: list[str]
) -> None:
    done = transferkit(*arguments, cwd=tmp_path)
    printed = done.stdout + done.stderr
    assert done.returncode == 1
    assert "Traceback" not in printed
    for word in told:
        assert word in printed


def test_a_failed_run_says_why_in_its_status(transferkit: RunCommand, tmp_path: Path) -> None:
    done = transferkit("dataset=folder", "dataset.root=nowhere", "hydra.run.dir=out", cwd=tmp_path)
    status = json.loads((tmp_path / "out/status.json").read_text())
    assert done.returncode == 1
    assert status["status"] == "failed"
    assert "dataset.root=nowhere" in status["reason"]
    assert "dataset.root=nowhere" in (tmp_path / "out/transferkit.log").read_text()


def test_full_error_shows_the_traceback(transferkit: RunCommand, tmp_path: Path) -> None:
    done = transferkit("dataset=folder", "dataset.root=nowhere", cwd=tmp_path, env={"HYDRA_FULL_ERROR": "1"})
    assert done.returncode == 1
    assert "Traceback" in done.stderr


@pytest.mark.slow
def test_a_failed_job_does_not_stop_the_others(transferkit: RunCommand, tmp_path: Path) -> None:
    done = transferkit(
        *("-m", "backbone.weights=no_such_weights,null", "dataset.fraction=0.2", "selection=val"),
        "hydra.sweep.dir=sweep",
        cwd=tmp_path,
    )
    states = {json.loads(path.read_text())["status"] for path in (tmp_path / "sweep").glob("*/status.json")}
    assert done.returncode == 1
    assert states == {"failed", "done"}
    assert "Traceback" not in done.stdout + done.stderr
    assert "no_such_weights" in done.stderr


def test_a_run_directory_that_cannot_be_made(transferkit: RunCommand, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = transferkit("hydra.run.dir=file/below", cwd=tmp_path)
    assert done.returncode == 1
    assert "hydra.run.dir" in done.stderr
    assert "Traceback" not in done.stderr


def test_explain_leaves_out_what_is_only_internal() -> None:
    error = ValueError("Key 'x' is not in struct\n    full_key: x\n    object_type=dict")
    assert explain(error) == "Key 'x' is not in struct"


def test_explain_names_the_extra_that_the_joblib_launcher_needs() -> None:
    error = ValueError("Could not find 'hydra/launcher/joblib'\n\nAvailable options in 'hydra/launcher':\n\tbasic")
    assert "pip install 'transferkit[joblib]'" in explain(error)


def test_help_lists_choices_and_keys_without_the_shared_files(transferkit: RunCommand, tmp_path: Path) -> None:
    done = transferkit("--help", "dataset=folder", cwd=tmp_path)
    assert done.returncode == 0
    assert "strategy: auto, bitfit, concat_probe, finetune_few" in done.stdout
    assert "val_fraction: 0.2 # fraction of all images" in done.stdout
    assert " base" not in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_version_is_ours(transferkit: RunCommand, tmp_path: Path) -> None:
    assert transferkit("--version", cwd=tmp_path).stdout == f"transferkit {tk.__version__}\n"


@pytest.mark.slow
def test_a_training_leaves_its_history_and_is_called_by_its_folder(transferkit: RunCommand, tmp_path: Path) -> None:
    for number in range(12):
        for name, color in (("ant", (200, 30, 30)), ("bee", (30, 30, 200))):
            path = tmp_path / "my photos" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (32, 32), (color[0], 5 * number, color[2])).save(path)
    short = ["strategy.phases.head.epochs=1", "strategy.phases.all.epochs=2", "strategy.batch_size=4"]
    short += [
        "strategy.phases.head.min_steps=0",
        "strategy.phases.all.min_steps=0",
        "cache.enabled=false",
        "selection=val",
    ]
    data = ["dataset=folder", "dataset.root='my photos'", "backbone=resnet_glyphs", "strategy=full_finetune"]
    done = transferkit(*data, *short, cwd=tmp_path)
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed
    assert not any(word in printed for word in ("GPU available", "TPU", "Tip", "litlogger", "Traceback"))
    (folder,) = (tmp_path / "runs").glob("*/*/*/*")
    assert folder.relative_to(tmp_path / "runs").parts[:3] == ("my_photos", "narrow_resnet10", "full_finetune")
    assert json.loads((folder / "metrics.json").read_text())["dataset"] == "my photos"
    with (folder / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["phase"], row["epoch"]) for row in rows] == [("head", "1"), ("all", "1"), ("all", "2")]
    for row in rows:
        assert 0 <= float(row["val_top1"]) <= 1
        assert float(row["train_loss"]) > 0
        assert float(row["lr_head"]) <= float(row["lr"])
    assert rows[0]["lr_stage1"] == ""
    assert float(rows[1]["lr_stage1"]) > 0
