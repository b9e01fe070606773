"""strategy.solver=gradient: near the exact solver's result, in the same form; resumed, and from the command line."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import transferkit as tk
from tests.conftest import RunCommand, compose_settings
from tests.strategies.contexts import make_context
from tests.training.killing import killed_in
from transferkit.data.imagedata import ImageData
from transferkit.errors import TransferkitError
from transferkit.folds import make_folds
from transferkit.strategies.fitted import Fitted
from transferkit.strategies.registry import fit_strategy
from transferkit.training.probe_module import ProbeModule

CS = [0.01, 1.0]
GRADIENT = {"epochs": 6, "min_steps": 300, "lr": 3e-2, "Cs": CS}
SHORT = {"epochs": 2, "min_steps": 0, "lr": 3e-2, "Cs": CS}
OVERRIDES = (
    *("strategy.solver=gradient", "strategy.probe.stages=[stage3,stage5]", "trainer.batch_size=40"),
    *("optimizer.lr=3e-3", "backbone=resnet_glyphs", "selection=val"),
)


@pytest.fixture(scope="module")
def data() -> ImageData:
    return tk.load_data({"kind": "digits", "name": "digits", "per_class": 20, "max_test": 100}, seed=0)


def fit(data: ImageData, folder: Path, strategy: dict[str, Any] | None = None, **changes: Any) -> Fitted:
    torch.manual_seed(0)
    backbone = tk.create_backbone("narrow_resnet10", None, input_size=16, mean=0.5, std=0.25, crop_pct=1.0)
    settings = compose_settings("stage_probe", *OVERRIDES) | changes
    settings["strategy"] |= {"gradient": GRADIENT} | (strategy or {})
    return fit_strategy(make_context(backbone, data, settings, folder))


@pytest.fixture(scope="module")
def whole(data: ImageData, tmp_path_factory: pytest.TempPathFactory) -> tuple[Fitted, Path]:
    """An uninterrupted fit and where it ran."""
    folder = tmp_path_factory.mktemp("whole")
    return fit(data, folder), folder


def test_it_is_near_the_exact_solver(whole: tuple[Fitted, Path], data: ImageData, tmp_path: Path) -> None:
    fitted = whole[0]
    probe = compose_settings("stage_probe")["strategy"]["probe"]
    exact = fit(data, tmp_path, {"solver": "exact", "probe": {**probe, "stages": ["stage3", "stage5"], "Cs": CS}})
    assert fitted.sweep.keys() == exact.sweep.keys()
    for stage, rows in exact.sweep.items():
        for ours, theirs in zip(fitted.sweep[stage], rows, strict=True):
            assert ours["C"] == theirs["C"]
            assert ours["val_top1"] == pytest.approx(theirs["val_top1"], abs=2.5 / len(data.val))
            assert ours["val_nll"] == pytest.approx(theirs["val_nll"], abs=0.06)
    assert fitted.stages.keys() == exact.stages.keys()
    for stage, figures in exact.stages.items():
        assert fitted.stages[stage].keys() == figures.keys() - {"classifier"}
        assert fitted.stages[stage]["features"] == figures["features"]
    assert fitted.details.keys() == exact.details.keys() - {"classifier", "selection"}
    assert fitted.trainable_parameters in {10 * (int(f["features"]) + 1) for f in exact.stages.values()}


def test_the_model_is_the_probe_chosen_on_val(whole: tuple[Fitted, Path], data: ImageData) -> None:
    fitted = whole[0]
    best = max(fitted.stages, key=lambda name: (fitted.stages[name]["val_top1"], -fitted.stages[name]["val_nll"]))
    assert fitted.details == {"stage": best, "solver": "gradient", "pool": "avg"}
    assert fitted.model.backbone.stage_names[-1] == best
    right = (fitted.val.argmax(axis=1) == data.val.labels).mean()
    assert right == pytest.approx(fitted.stages[best]["val_top1"])
    with torch.no_grad():
        images = torch.stack([fitted.model.preprocess(data.val.image(i)) for i in range(len(data.val))])
        np.testing.assert_allclose(fitted.model(images).softmax(1), fitted.val, atol=1e-4)


def test_the_history_has_a_row_an_epoch(whole: tuple[Fitted, Path]) -> None:
    rows = whole[0].history
    assert [(row["phase"], row["epoch"]) for row in rows] == [("probe", i + 1) for i in range(6)]
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]


@pytest.mark.slow
def test_killed_it_goes_on_to_the_same_weights(
    whole: tuple[Fitted, Path], data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with killed_in(ProbeModule, monkeypatch, 3, 2):
        fit(data, tmp_path)
    torch.manual_seed(12345)
    resumed = fit(data, tmp_path)
    assert resumed.history == whole[0].history
    assert resumed.sweep == whole[0].sweep
    for name, value in whole[0].model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_another_recipe_does_not_go_on_from_it(whole: tuple[Fitted, Path], data: ImageData) -> None:
    with pytest.raises(TransferkitError, match=r"another training: strategy\.gradient\.lr 0\.03 there and 0\.01 here"):
        fit(data, whole[1], {"gradient": {**GRADIENT, "lr": 0.01}})


def test_weight_decay_is_left_to_C(data: ImageData, tmp_path: Path) -> None:
    short, optimizer = {"gradient": {**SHORT, "epochs": 1}}, compose_settings("stage_probe", *OVERRIDES)["optimizer"]
    groups = [{**optimizer, "weight_decay": decay} for decay in (0.0, 1.0)]
    fits = [fit(data, tmp_path / str(i), short, optimizer=group) for i, group in enumerate(groups)]
    assert fits[0].sweep == fits[1].sweep


def test_stages_together_on_augmented_images(data: ImageData, tmp_path: Path) -> None:
    affine = {"name": "affine", "transforms": {"affine": {"degrees": 8}}}
    short = {"combine": "concat", "gradient": SHORT}
    fitted = fit(data, tmp_path, short, augment=affine)
    assert fitted.details["stage"] == "stage3+stage5"
    assert fitted.model.stages == ["stage3", "stage5"]
    right = (fitted.val.argmax(axis=1) == data.val.labels).mean()
    assert right == pytest.approx(fitted.stages["stage3+stage5"]["val_top1"])


def test_a_list_of_Cs_is_for_both_solvers(data: ImageData, tmp_path: Path) -> None:
    fitted = fit(data, tmp_path, {"gradient": {**SHORT, "epochs": 1}, "probe": {"stages": ["top"], "Cs": [0.5]}})
    assert [row["C"] for row in fitted.sweep["stage5"]] == [0.5]


def test_few_images_are_chosen_by_folds_and_all_fitted(data: ImageData, tmp_path: Path) -> None:
    selection = {**compose_settings("stage_probe")["selection"], "name": "cv", "finetune_folds": 2}
    fitted = fit(data, tmp_path, {"gradient": SHORT}, selection=selection)
    assert fitted.details["selection"] == {"by": "cv", "images": 200, "folds": 2, "repeats": 1}
    assert fitted.out_of_fold is not None
    assert sorted(fitted.out_of_fold.images) == list(range(200))
    best = fitted.stages[fitted.details["stage"]]
    assert fitted.out_of_fold.metrics()["top1"] == pytest.approx(best["val_top1"])
    assert fitted.out_of_fold.metrics()["nll"] == pytest.approx(best["val_nll"], abs=1e-4)
    modules = [fit(part, tmp_path / name, {"gradient": SHORT}) for name, part in halves(data).items()]
    expected = [np.mean([module.sweep["stage5"][i]["val_nll"] for module in modules]) for i in range(len(CS))]
    assert [row["val_nll"] for row in fitted.sweep["stage5"]] == pytest.approx(expected, abs=1e-4)


def halves(data: ImageData) -> dict[str, ImageData]:
    """The folds, as data sets whose val is held out."""
    whole = data.train.joined(data.val)
    folds = make_folds(data.fit_labels(), data.fit_contents(), splits=2)
    return {
        str(i): dataclasses.replace(data, train=whole.subset(rows), val=whole.subset(held))
        for i, (rows, held) in enumerate(folds)
    }


@pytest.mark.slow
def test_two_processes_give_what_one_gives(data: ImageData, tmp_path: Path) -> None:
    trainer = compose_settings("stage_probe", *OVERRIDES)["trainer"]
    one, two = (fit(data, tmp_path / str(n), {"gradient": SHORT}, trainer={**trainer, "devices": n}) for n in (1, 2))
    for stage, rows in one.sweep.items():
        for ours, theirs in zip(two.sweep[stage], rows, strict=True):
            assert ours["val_nll"] == pytest.approx(theirs["val_nll"], rel=1e-3)
    np.testing.assert_allclose(two.val, one.val, atol=1e-3)


@pytest.mark.slow
def test_the_command_line(transferkit: RunCommand, tmp_path: Path) -> None:
    done = transferkit(
        *("strategy=stage_probe", "strategy.solver=gradient", "dataset.per_class=10", "augment=affine"),
        *("strategy.gradient.epochs=3", "strategy.gradient.min_steps=18", "dataset.max_test=100"),
        *("trainer.num_workers=0", "hydra.run.dir=run"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["solver"] == "gradient"
    assert metrics["test"]["top1"] > 0.75
    assert set(metrics["stages"]) == {f"stage{i}" for i in range(1, 6)}
    again = transferkit("task=evaluate", "run=run", "hydra.run.dir=again", cwd=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    assert json.loads((tmp_path / "again" / "metrics.json").read_text())["test"]["top1"] == metrics["test"]["top1"]
