"""task=predict: a folder, a file, a glob; unreadable images are listed and the rest is predicted."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import transferkit as tk
from tests.conftest import Run, RunCommand
from transferkit.cli.predict import images_at, main
from transferkit.errors import TransferkitError
from transferkit.models.transfer_model import load_model, save_model
from transferkit.report.probability_table import class_columns
from transferkit.rundir import Status, write_status


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    data = tk.load_data({"kind": "digits", "name": "digits"}, seed=0)
    (folder / "below").mkdir()
    for i in range(12):
        data.test.image(i).save(folder / f"{data.test.labels[i]}_{i}.png")
    data.test.image(12).save(folder / "below" / "größe 数字.PNG")
    (folder / "broken.jpg").write_bytes(b"not an image")
    (folder / "notes.txt").write_text("not an image either")
    return folder


def predicted(run: Path) -> list[dict[str, str]]:
    with (run / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_folder(default_run: Run, transferkit: RunCommand, photos: Path, tmp_path: Path) -> None:
    done = transferkit(
        "task=predict", f"run={default_run.folder}", f"images={photos}", "hydra.run.dir=out", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    rows = predicted(tmp_path / "out")
    assert len(rows) == 13
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert page.count("<li id=") == 13
    assert "1 file could not be read" in page
    named = [row for row in rows if "_" in Path(row["image"]).name]
    right = [row["predicted"] == Path(row["image"]).name[0] for row in named]
    assert sum(right) >= 11
    for row in rows:
        probabilities = {name: float(row[name]) for name in map(str, range(10))}
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-4)
        assert max(probabilities, key=lambda name: probabilities[name]) == row["predicted"]
    assert "broken.jpg" in (tmp_path / "out/unreadable.csv").read_text()
    assert "broken.jpg" in done.stdout


def test_only_broken_images_is_an_error(
    default_run: Run, transferkit: RunCommand, photos: Path, tmp_path: Path
) -> None:
    done = transferkit("task=predict", f"run={default_run.folder}", f"images={photos / 'broken.jpg'}", cwd=tmp_path)
    assert done.returncode == 1
    assert "broken.jpg" in done.stdout + done.stderr


def test_what_images_may_name(photos: Path) -> None:
    assert len(images_at(str(photos))) == 14
    assert images_at(str(photos / "broken.jpg")) == [photos / "broken.jpg"]
    assert len(images_at(str(photos / "*.png"))) == 12
    assert len(images_at([str(photos / "*.png"), str(photos / "below")])) == 13
    with pytest.raises(TransferkitError, match="no image"):
        images_at(str(photos / "*.webp"))


def test_a_glob_follows_no_links_and_passes_over_hidden_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    for name in ("top.png", "a/one.png", "a/b/two.png", "a/.hidden.png", "a/notes.txt"):
        (tmp_path / name).write_text("")
    for i in range(3):  # followed, they are 3 to the power of 40 paths
        (tmp_path / f"a/b/back{i}").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert images_at("**/*.png") == [Path("a/b/two.png"), Path("a/one.png"), Path("top.png")]
    assert images_at(f"{tmp_path}/a/**") == [tmp_path / name for name in ("a/b/two.png", "a/notes.txt", "a/one.png")]
    assert images_at("**/.hidden.png") == [Path("a/.hidden.png")]


def test_classes_that_are_called_like_the_other_columns() -> None:
    names = ["cat", "image", "confidence", "image (class)"]
    columns = class_columns(names, ("image", "predicted", "confidence"))
    assert columns[0] == "cat"
    assert columns[3] == "image (class)"
    assert len({"image", "predicted", "confidence", *columns}) == 3 + len(names)


def test_the_library_predicts_paths_images_and_tensors_alike(default_run: Run, photos: Path) -> None:
    model = tk.load_model(default_run.folder)
    path = sorted(photos.glob("*.png"))[0]
    image = tk.load_data({"kind": "digits", "name": "digits"}, seed=0).test.image(int(path.stem.split("_")[1]))
    three = model.predict([path, image, model.preprocess(image)])
    for prediction in three[1:]:
        np.testing.assert_allclose(prediction.probabilities, three[0].probabilities, atol=1e-6)
    assert model.predict(str(path))[0].label == three[0].label


def predict(run: Path, photos: Path, out: Path) -> None:
    task = {"name": "predict", "coverage": 0.9}
    main({"task": task, "run": str(run), "images": str(photos), "trainer": {"batch_size": 8}}, out)


@pytest.mark.parametrize("status", [Status.RUNNING, Status.FAILED])
def test_a_run_that_is_not_done_is_refused(default_run: Run, photos: Path, tmp_path: Path, status: Status) -> None:
    shutil.copytree(default_run.folder, tmp_path / "run")
    write_status(tmp_path / "run", status, "the disk is full")
    with pytest.raises(TransferkitError, match=r"running, or was killed|failed \(the disk is full\)"):
        predict(tmp_path / "run", photos, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "run" / "status.json").unlink()  # a copy of the artifact alone
    predict(tmp_path / "run", photos, tmp_path / "out")
    rows = predicted(tmp_path / "out")
    assert len(rows) == 13
    assert {row["known"] for row in rows} <= {"true", "false"}
    assert all(row["predicted"] in row["set"].split("|") for row in rows)


def test_probabilities_that_are_no_numbers_are_not_written(default_run: Run, photos: Path, tmp_path: Path) -> None:
    model = load_model(default_run.folder)
    torch.nn.init.constant_(model.head.bias, float("nan"))  # type: ignore[arg-type]
    save_model(tmp_path / "run", model)
    with pytest.raises(TransferkitError, match=r"no finite probabilities.*the first .*photos.*\.png"):
        predict(tmp_path / "run", photos, tmp_path / "out")
    assert not (tmp_path / "out").exists()
