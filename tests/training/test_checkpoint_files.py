"""A damaged checkpoint is named, and training goes on from the one before or anew, to the same result."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import transferkit as tk
from tests.conftest import REPOSITORY
from tests.processes import PythonStarter
from tests.training.killing import killed_in
from transferkit.data.imagedata import ImageData
from transferkit.errors import TransferkitError
from transferkit.training.checkpoint_files import CheckpointFiles, read_checkpoint
from transferkit.training.finetune_module import FinetuneModule
from transferkit.training.loaders import TrainingData
from transferkit.training.plan import Plan
from transferkit.training.run_phase import Trained, TrainSettings, check_recipe, fit_module

Damage = Callable[[Path], object]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


DAMAGE: dict[str, Damage] = {"flipped": flip, "cut": cut, "empty": lambda p: p.write_bytes(b""), "gone": Path.unlink}


def epochs(folder: Path) -> dict[str, int]:
    return {kind: int(read_checkpoint(path)["epoch"]) for kind, path in CheckpointFiles(folder).newest().items()}


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """Three generations written; the best weights came with the first and the third."""
    files = CheckpointFiles(tmp_path)
    files.write({"last": {"epoch": 1}, "best": {"epoch": 1}})
    files.write({"last": {"epoch": 2}})
    files.write({"last": {"epoch": 3}, "best": {"epoch": 3}})
    return tmp_path


def test_the_newest_two_generations_are_kept(three: Path) -> None:
    assert epochs(three) == {"last": 3, "best": 3}
    assert {path.name for path in three.iterdir()} == {
        *("checkpoints.json", "best_1.ckpt", "best_3.ckpt", "last_2.ckpt", "last_3.ckpt"),
    }


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("name", ["last_3.ckpt", "best_3.ckpt"])
def test_of_a_damaged_generation_the_one_before_is_taken_whole(
    three: Path, damage: Damage, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    damage(three / name)
    assert epochs(three) == {"last": 2, "best": 1}
    assert f"{three / name} is missing or damaged" in caplog.text
    assert "goes on from the checkpoint before" in caplog.text


def test_what_follows_a_damaged_generation_builds_on_the_intact_one(three: Path) -> None:
    flip(three / "best_3.ckpt")
    files = CheckpointFiles(three)
    files.newest()
    files.write({"last": {"epoch": 33}})
    assert epochs(three) == {"last": 33, "best": 1}
    assert not (three / "best_3.ckpt").exists()


@pytest.mark.parametrize(
    "content", [None, "{", "[]", '{"generations": [{"last": {"file": "../x.ckpt", "sha256": ""}}]}']
)
def test_without_the_manifest_it_starts_anew(
    three: Path, content: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    (three / "checkpoints.json").unlink() if content is None else (three / "checkpoints.json").write_text(content)
    assert CheckpointFiles(three).newest() == {}
    assert "checkpoints.json is missing or damaged" in caplog.text
    assert "starts anew" in caplog.text


def test_nothing_written_is_nothing_to_tell(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert CheckpointFiles(tmp_path / "none").newest() == {}
    assert not caplog.text


WRITER = """
import sys, torch
from pathlib import Path
from transferkit.training.checkpoint_files import CheckpointFiles
files = CheckpointFiles(Path(sys.argv[1]))
for epoch in range(1000000):
    files.write({"last": {"epoch": epoch, "weights": torch.full((300000,), float(epoch))}, "best": {"epoch": epoch}})
    print(epoch, flush=True)
"""


@pytest.mark.slow
def test_a_writer_killed_at_any_moment_leaves_a_whole_generation(python: PythonStarter, tmp_path: Path) -> None:
    for wait in (0.0, 0.01, 0.031):
        process = python.start("-c", WRITER, tmp_path, cwd=REPOSITORY)
        process.read_line()
        written = int(process.read_line())
        time.sleep(wait)
        process.kill()
        found = {kind: read_checkpoint(path) for kind, path in CheckpointFiles(tmp_path).newest().items()}
        assert found["last"]["epoch"] == found["best"]["epoch"] >= written
        assert torch.equal(found["last"]["weights"], torch.full((300000,), float(found["last"]["epoch"])))


def test_a_damaged_recipe_is_one_message(tmp_path: Path) -> None:
    check_recipe(tmp_path, {"a": 1})
    cut_off = (tmp_path / "recipe.json").read_text()[:-3]
    (tmp_path / "recipe.json").write_text(cut_off)
    with pytest.raises(TransferkitError, match=r"recipe\.json is damaged.*to start anew"):
        check_recipe(tmp_path, {"a": 1})


@pytest.fixture(scope="module")
def data() -> ImageData:
    return tk.load_data({"kind": "digits", "name": "digits", "per_class": 10, "max_test": 50}, seed=0)


def fit(data: ImageData, folder: Path) -> tuple[Trained, dict[str, Any]]:
    torch.manual_seed(0)
    backbone = tk.create_backbone("narrow_resnet10", "resnet_glyphs")
    phases = {"tail": {"epochs": 4, "train": {"head": 1e-3, "stage5": 1e-3}}}
    module = FinetuneModule(backbone, 10, Plan.from_mapping({"name": "test", "phases": phases}))
    module.begin("tail")
    batches = TrainingData(data.train, data.val, module.model.preprocess, None, batch_size=16)
    trained = fit_module(module, batches, TrainSettings(4, device="cpu"), folder)
    return trained, {name: value.clone() for name, value in module.state_dict().items()}


@pytest.fixture(scope="module")
def whole(data: ImageData, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, dict[str, Any]]:
    return fit(data, tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize(("generations", "told"), [(1, "goes on from the checkpoint before"), (2, "starts anew")])
def test_a_training_with_damaged_checkpoints_ends_as_if_nothing_had_been(
    generations: int,
    told: str,
    whole: tuple[Trained, dict[str, Any]],
    data: ImageData,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("transferkit.training.checkpoints.SHARE", 0)  # a checkpoint every epoch
    with killed_in(FinetuneModule, monkeypatch, 3):
        fit(data, tmp_path)
    for path in sorted(tmp_path.glob("last_*.ckpt"), reverse=True)[:generations]:
        flip(path)
    with caplog.at_level(logging.INFO):
        trained, weights = fit(data, tmp_path)
    assert told in caplog.text
    assert trained == whole[0]
    assert all(torch.equal(value, weights[name]) for name, value in whole[1].items())


def test_a_damaged_result_is_computed_anew(
    whole: tuple[Trained, dict[str, Any]], data: ImageData, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fit(data, tmp_path)
    (done,) = tmp_path.glob("*.ckpt")
    flip(done)
    trained, weights = fit(data, tmp_path)
    assert f"{done} is missing or damaged" in caplog.text
    assert trained == whole[0]
    assert all(torch.equal(value, weights[name]) for name, value in whole[1].items())
