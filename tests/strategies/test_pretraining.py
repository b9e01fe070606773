import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import RunCommand, compose_settings
from tests.strategies.contexts import make_context
from tests.training.killing import killed_in
from transferkit.backbones.create import create_backbone
from transferkit.data.imagedata import ImageData
from transferkit.data.load_data import load_data
from transferkit.errors import TransferkitError
from transferkit.models.transfer_model import load_model, save_model
from transferkit.strategies.pretraining import Pretrained, pretrain
from transferkit.training.checkpoint_files import CheckpointFiles
from transferkit.training.finetune_module import FinetuneModule

OVERRIDES = (
    *("task=pretrain", "task.epochs=3", "task.label_smoothing=0", "optimizer.lr=3e-3", "backbone=vgg_glyphs"),
    *("augment=affine", "augment.transforms.affine={degrees: 5}", "dataset=glyphs"),
)


def settings() -> dict[str, Any]:
    return compose_settings("linear_probe", *OVERRIDES)


@pytest.fixture(scope="module")
def letters() -> ImageData:
    return load_data({"kind": "glyphs", "images": 400, "classes": 4}, seed=0)


def network(name: str = "narrow_vgg8") -> Any:  # has dropout
    torch.manual_seed(0)
    return create_backbone(name, None, input_size=32, mean=0.5, std=0.25, crop_pct=1.0)


def train(data: ImageData, folder: Path, **changes: Any) -> Pretrained:
    return pretrain(make_context(network(), data, settings() | changes, folder))


def weights(trained: Any) -> dict[str, Any]:
    return {name: value.clone() for name, value in trained.model.state_dict().items()}


@pytest.fixture(scope="module")
def whole(letters: ImageData, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An uninterrupted training and where it ran."""
    folder = tmp_path_factory.mktemp("whole")
    return train(letters, folder), folder


def test_it_learns(whole: Any, letters: ImageData) -> None:
    trained, _ = whole
    assert [row["epoch"] for row in trained.history] == [1, 2, 3]
    assert trained.history[-1]["train_loss"] < trained.history[0]["train_loss"]
    best = max(trained.history, key=lambda row: row["val_top1"])
    assert trained.best_epoch == best["epoch"]
    assert best["val_top1"] > 2 / 4
    with torch.inference_mode():
        images = torch.stack([trained.model.preprocess(letters.val.image(i)) for i in range(len(letters.val))])
        right = (trained.model(images).argmax(1).numpy() == letters.val.labels).mean()
    assert right == pytest.approx(best["val_top1"], abs=0.5 / len(letters.val))


def test_killed_in_an_epoch_it_goes_on_to_the_same_weights(
    whole: Any, letters: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with killed_in(FinetuneModule, monkeypatch, 1, 5):
        train(letters, tmp_path)
    torch.manual_seed(12345)
    trained = train(letters, tmp_path)
    assert trained.history == whole[0].history
    for name, value in weights(whole[0]).items():
        assert torch.equal(value, trained.model.state_dict()[name]), name


def test_what_is_finished_is_not_trained_again(whole: Any, letters: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    trained, folder = whole
    before = weights(trained)
    monkeypatch.setattr(FinetuneModule, "training_step", lambda *_: pytest.fail("a finished training went on"))
    again = train(letters, folder)
    assert again.history == trained.history
    assert all(torch.equal(value, again.model.state_dict()[name]) for name, value in before.items())


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["plateau", "step"])
def test_every_kind_of_schedule_resumes(
    schedule: str, letters: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = {"schedule": {"name": schedule} | ({"patience": 0} if schedule == "plateau" else {})}
    few = load_data({"kind": "glyphs", "images": 128, "classes": 4}, seed=0)
    straight = train(few, tmp_path / "straight", **changed)
    with killed_in(FinetuneModule, monkeypatch, 2):
        train(few, tmp_path / "resumed", **changed)
    resumed = train(few, tmp_path / "resumed", **changed)
    assert resumed.history == straight.history


def test_checkpoints_hold_plain_containers_only(
    whole: Any, letters: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with killed_in(FinetuneModule, monkeypatch, 1):
        train(letters, tmp_path)
    found = CheckpointFiles(tmp_path / "checkpoints").newest()
    last, best = (torch.load(found[kind], weights_only=True) for kind in ("last", "best"))
    assert last["plan"]["phases"]["all"]["epochs"] == 3
    assert last["state_dict"].keys() == best["state_dict"].keys()
    assert len(list((whole[1] / "checkpoints").glob("*.ckpt"))) == 1
    done = torch.load(CheckpointFiles(whole[1] / "checkpoints").newest()["done"], weights_only=True)
    assert done["history"] == whole[0].history


def test_another_recipe_does_not_go_on_from_it(whole: Any, letters: ImageData) -> None:
    with pytest.raises(
        TransferkitError,
        match=r"checkpoints of another training: seed 0 there and 7 here\. .*another hydra\.run\.dir",
    ):
        train(letters, whole[1], seed=7)


def test_a_loss_that_explodes(letters: ImageData, tmp_path: Path) -> None:
    changed = {"optimizer": {"name": "sgd", "lr": 100.0}, "schedule": {"name": "constant"}}
    with pytest.raises(TransferkitError, match=r"The training loss is nan in epoch 1: lower .* \(optimizer\.lr"):
        train(letters, tmp_path, **changed)


def test_half_precision_is_computed_in_full(whole: Any, tmp_path: Path, letters: ImageData) -> None:
    trained, _ = whole
    save_model(tmp_path, trained.model, dtype=torch.float16)
    loaded = load_model(tmp_path)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    images = [letters.val.image(i) for i in range(20)]
    for ours, theirs in zip(loaded.predict(images), trained.model.predict(images), strict=True):
        np.testing.assert_allclose(ours.probabilities, theirs.probabilities, atol=0.02)


@pytest.mark.slow
def test_the_task_writes_weights_that_another_run_takes(transferkit: RunCommand, tmp_path: Path) -> None:
    done = transferkit(
        *("experiment=pretrain_resnet_glyphs", "dataset.images=400", "dataset.classes=4", "task.epochs=2"),
        *("trainer.batch_size=64", "trainer.num_workers=0", "hydra.run.dir=source"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "Epoch 2 of 2" in done.stdout + done.stderr
    with (tmp_path / "source" / "history.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]
    metadata = json.loads((tmp_path / "source" / "model.json").read_text())
    assert (metadata["backbone"]["name"], metadata["stage"]) == ("narrow_resnet10", "stage5")
    fit = transferkit("backbone.weights=source", "dataset.per_class=5", "hydra.run.dir=target", cwd=tmp_path)
    assert fit.returncode == 0, fit.stderr
    assert json.loads((tmp_path / "target" / "metrics.json").read_text())["test"]["top1"] > 0.3


def test_an_interruption_arrives_as_one(letters: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self, batch: Any, index: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(FinetuneModule, "training_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(letters, tmp_path)
