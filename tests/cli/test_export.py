"""task=export: files of a run, what they say on the screen, and the script that predicts without torch."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import transferkit as tk
from tests.conftest import Run, RunCommand, compose_settings
from tests.export.conftest import exporting
from transferkit.cli.export import main
from transferkit.errors import TransferkitError
from transferkit.export.exported import Exported
from transferkit.export.hub_folder import push
from transferkit.export.model_card import fit_command, model_card
from transferkit.models.transfer_model import save_model


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    test = tk.load_data({"kind": "digits", "name": "digits"}, seed=0).test
    for i in range(0, 120, 6):
        test.image(i).resize((16 + i, 30)).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def exported(default_run: Run, transferkit: RunCommand, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The default run as ONNX, in 8 bits too, and as plain weights; the folder and the output."""
    cwd = tmp_path_factory.mktemp("export")
    formats = "export.format=[onnx,state_dict]"
    done = transferkit(
        "task=export", f"run={default_run.folder}", formats, "export.int8=true", "hydra.run.dir=out", cwd=cwd
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return cwd / "out", done.stdout


def test_files_and_their_accuracy(exported: tuple[Path, str], default_run: Run) -> None:
    folder, output = exported
    facts = json.loads((folder / "export.json").read_text())
    assert [file["path"] for file in facts["files"]] == ["model.onnx", "state_dict.safetensors"]
    assert all(file["largest_difference"] < 1e-5 for file in facts["files"])
    plain, quantised = (facts["test"][name] for name in ("model.onnx", "model_int8.onnx"))
    assert plain["top1"] == pytest.approx(default_run.json("metrics.json")["test"]["top1"])
    assert quantised["bytes"] < plain["bytes"] / 3
    assert quantised["top1"] >= plain["top1"] - 0.02
    assert f"test top-1 {100 * quantised['top1']:6.2f} % on 359 images" in output
    assert "Compared with the model on 32 images of the test split of digits." in output


def test_the_script_predicts_without_torch(
    exported: tuple[Path, str], default_run: Run, transferkit: RunCommand, photos: Path, tmp_path: Path
) -> None:
    without = tmp_path / "without"
    without.mkdir()
    for name in ("torch", "torchvision", "transferkit", "timm"):
        (without / f"{name}.py").write_text("raise ImportError('not here')")
    paths = sorted(map(str, photos.glob("*.png")))
    done = subprocess.run(
        [sys.executable, exported[0] / "predict.py", *paths],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(without)},
    )
    assert done.returncode == 0, done.stderr
    alone = {path: (label, float(p)) for label, p, path in (line.split("\t") for line in done.stdout.splitlines())}
    predict = "task=predict", f"run={default_run.folder}", f"images={photos}", "hydra.run.dir=out"
    assert transferkit(*predict, cwd=tmp_path).returncode == 0
    with (tmp_path / "out/predictions.csv").open(newline="") as file:
        ours = {row["image"]: (row["predicted"], float(row["confidence"])) for row in csv.DictReader(file)}
    assert set(alone) == set(ours)
    for path, (label, confidence) in ours.items():
        assert alone[path][0] == label
        assert alone[path][1] == pytest.approx(confidence, abs=1e-4)


def export(run: Path, out: Path, *overrides: str, **more: Any) -> None:
    settings = compose_settings("linear_probe", "task=export", f"run={run}", *overrides)
    main({**settings, "choices": [], **more}, out)


def test_mistakes_are_one_message(default_run: Run, tmp_path: Path) -> None:
    with pytest.raises(TransferkitError, match=r"needs run=RUN_DIR"):
        main({**compose_settings("linear_probe", "task=export"), "choices": []}, tmp_path)
    with pytest.raises(TransferkitError, match=r"export\.format=tflite must be .*onnx"):
        export(default_run.folder, tmp_path, "export.format=tflite")
    with pytest.raises(TransferkitError, match=r"export\.int8=true quantises the ONNX file"):
        export(default_run.folder, tmp_path, "export.format=hub", "export.int8=true")
    with pytest.raises(TransferkitError, match=r"export\.push=\.\.\. uploads the folder"):
        export(default_run.folder, tmp_path, "export.push=me/digits")
    with pytest.raises(TransferkitError, match="narrow_resnet10 is one of embedded"):
        export(default_run.folder, tmp_path, "export.format=hub")


def test_an_artifact_alone_without_its_data(default_run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = tk.load_model(default_run.folder)
    save_model(tmp_path / "artifact", model, dataset={"kind": "folder", "root": str(tmp_path / "gone")}, seed=0)
    with caplog.at_level("INFO"):
        export(tmp_path / "artifact", tmp_path / "out", "export.format=state_dict")
    assert "cannot be read here" in caplog.text
    assert "photographs that come with scikit-learn" in caplog.text
    with pytest.raises(TransferkitError, match="gone"):
        export(tmp_path / "artifact", tmp_path / "out", "export.int8=true")


def test_the_card_says_how_well_it_works_on_what_and_how_it_was_made(default_run: Run, tmp_path: Path) -> None:
    ours = exporting(tk.load_model(default_run.folder), tmp_path, 2)
    bare = model_card(ours)
    assert "without the metrics of its run" in bare
    card = model_card(type(ours)(ours.network, ours.about, ours.compared, ours.folder, default_run.folder))
    top1 = default_run.json("metrics.json")["test"]["top1"]
    assert f"**{100 * top1:.1f} %** of 359 held-out test images are classified correctly (95 % interval" in card
    assert "fitted to 1,438 labelled images. Strategy `linear_probe`, from narrow_resnet10 (resnet_glyphs)" in card
    assert fit_command(default_run.folder) == "transferkit"
    assert "    transferkit\n" in card
    assert max(map(len, card.splitlines())) < 200


def test_uploading_uses_the_hubs_own_library(tmp_path: Path) -> None:
    calls = []

    class Api:
        def __init__(self, library_name: str) -> None:
            calls.append(library_name)

        def create_repo(self, name: str, private: bool, exist_ok: bool) -> str:
            assert private
            assert exist_ok
            return f"https://hub/{name}"

        def upload_folder(self, repo_id: str, folder_path: Path, commit_message: str) -> None:
            calls.append(f"{repo_id} {folder_path}")
            if repo_id == "me/refused":
                raise OSError("401 Unauthorized")

    class Hub:
        HfApi = Api

    folder = Exported("hub", tmp_path, 0.0, (), "")
    assert push(folder, "me/digits", Hub) == "https://hub/me/digits"
    assert calls == ["transferkit", f"me/digits {tmp_path}"]
    with pytest.raises(TransferkitError, match=r"401 Unauthorized.*is complete.*hf upload me/refused"):
        push(folder, "me/refused", Hub)
