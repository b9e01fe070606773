"""Finetuning strategies, from their YAMLs: what is frozen stays, what is finished is kept, what does harm is undone."""

import copy
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import transferkit as tk
from tests.conftest import RunCommand
from tests.processes import PythonStarter
from tests.strategies.contexts import make_context, short_settings
from transferkit.backbones.backbone import Backbone
from transferkit.config.compose import config_dir
from transferkit.data.imagedata import ImageData
from transferkit.errors import TransferkitError
from transferkit.features.from_settings import make_extractor
from transferkit.models.protocols import center_probabilities
from transferkit.strategies.finetune import fit_finetune
from transferkit.strategies.fitted import Fitted
from transferkit.strategies.start_module import class_weights, random_like
from transferkit.training.finetune_module import FinetuneModule
from transferkit.training.run_phase import Trained

FINETUNING = [path.stem for path in sorted((config_dir() / "strategy").glob("*.yaml")) if "phases:" in path.read_text()]


@pytest.fixture(scope="module")
def data() -> ImageData:
    return tk.load_data({"kind": "digits", "name": "digits", "per_class": 6, "max_test": 100}, seed=0)


@pytest.fixture
def backbone() -> Backbone:
    return tk.create_backbone("narrow_resnet10", "resnet_glyphs")


def fit(backbone: Backbone, data: ImageData, settings: dict[str, Any], folder: Path) -> Fitted:
    return fit_finetune(make_context(backbone, data, settings, folder))


def test_all_strategies_of_the_contract_are_there() -> None:
    assert set(FINETUNING) >= {
        *("finetune_few", "finetune_many", "full_finetune", "from_scratch"),
        *("lp_ft", "gradual_unfreeze", "surgical"),
    }


@pytest.mark.parametrize(
    ("augment", "size", "warned"), [("light", 32, True), ("light", 33, False), ("affine", 32, False)]
)
def test_images_as_small_as_the_input_are_better_not_cut_up(
    augment: str, size: int, warned: bool, backbone: Backbone, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, size, size, 3), dtype=np.uint8)
    images = tk.ImageSet.from_arrays(pixels, np.arange(8) % 2)
    data = ImageData("noise", ["a", "b"], images, images, images, "")
    settings = short_settings("finetune_few", f"augment={augment}", "augment.views=1")
    fit(backbone, data, settings, tmp_path)
    assert ("no larger than the network's input, and augment=light cuts out" in caplog.text) == warned


def plain_state(module: FinetuneModule) -> dict[str, Any]:
    """The state dict without the adapters of LoRA, under the names that it has when they are merged."""
    return {k.replace(".base_layer", ""): v for k, v in module.state_dict().items() if ".lora_" not in k}


@pytest.mark.parametrize("strategy", FINETUNING)
def test_what_a_strategy_freezes_stays_as_it_was(
    strategy: str, backbone: Backbone, data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {name: value.clone() for name, value in backbone.state_dict().items()}
    settings = short_settings(strategy)
    begun: list[tuple[Any, dict[str, Any], Any]] = []
    begin = FinetuneModule.begin

    def watched(self: Any, phase: str) -> None:
        begin(self, phase)
        begun.append((self, {k: v.clone() for k, v in plain_state(self).items()}, dict(self.rates)))

    monkeypatch.setattr(FinetuneModule, "begin", watched)
    fitted = fit(backbone, data, settings, tmp_path)
    assert all(torch.equal(given[name], value) for name, value in backbone.state_dict().items()), "the caller's changed"
    # Between the beginnings of two phases lies one fit.
    phases = begun[1:]
    ends = [state for _, state, _ in phases[1:]] + [plain_state(phases[-1][0])]
    for (module, before, rates), after in zip(phases, ends, strict=True):
        for stage in module.stage_names:
            prefix = "model.head." if stage == "head" else f"model.backbone.stages.{stage}."
            keys = [key for key in before if key.startswith(prefix)]
            assert keys, f"{stage} has no weights by that name"
            changed = {key for key in keys if not torch.equal(before[key], after[key])}
            if stage not in rates:
                assert not changed
            if module.plan.batch_norm == "running":
                assert not [key for key in changed if "running_" in key]
    assert fitted.history
    assert set(fitted.details["phases"]) == set(settings["strategy"]["phases"])
    assert fitted.val.shape == (len(data.val), 10)


def test_the_kept_model_is_the_best_epoch_on_val(backbone: Backbone, data: ImageData, tmp_path: Path) -> None:
    settings = short_settings("full_finetune")
    fitted = fit(backbone, data, settings, tmp_path)
    probabilities = center_probabilities(fitted.model, data.val, make_extractor(settings))
    np.testing.assert_allclose(probabilities, fitted.val, atol=1e-5)
    top1 = (probabilities.argmax(1) == data.val.labels).mean()
    phase = fitted.details["phases"]["all"]
    rows = [row for row in fitted.history if row["phase"] == "all"]
    assert top1 >= max(row["val_top1"] for row in rows) - 1e-9
    if phase["best_epoch"]:
        assert rows[phase["best_epoch"] - 1]["val_top1"] == pytest.approx(top1)


@pytest.mark.parametrize(("strategy", "phases"), [("gradual_unfreeze", 4), ("lora", 1)])
def test_a_phase_that_only_does_harm_is_undone(
    strategy: str, phases: int, backbone: Backbone, data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = []

    def harm(module: FinetuneModule, *_: Any) -> Trained:
        starts.append(copy.deepcopy(plain_state(module)))
        with torch.no_grad():
            for parameter in module.parameters():
                if parameter.requires_grad:
                    parameter.fill_(0.3)
        return Trained([{"epoch": 1, "lr": 1.0, "train_loss": 2.3, "val_loss": 2.3, "val_top1": 0.1}], 1)

    monkeypatch.setattr("transferkit.strategies.phases.fit_module", harm)
    fitted = fit(backbone, data, short_settings(strategy), tmp_path)
    assert [figures["best_epoch"] for figures in fitted.details["phases"].values()] == [0] * phases
    for start in starts:
        for name, value in fitted.model.state_dict().items():
            assert torch.equal(start[f"model.{name}"], value), name
    assert (fitted.val.argmax(1) == data.val.labels).mean() > 0.5


def test_inputs_kept_in_memory_change_nothing(backbone: Backbone, data: ImageData, tmp_path: Path) -> None:
    for strategy in ("finetune_many", "lp_ft"):
        kept = fit(backbone, data, short_settings(strategy), tmp_path / f"{strategy} kept")
        streamed = fit(backbone, data, short_settings(strategy, "cache.ram_gb=0"), tmp_path / f"{strategy} streamed")
        np.testing.assert_allclose(kept.val, streamed.val, atol=1e-4)
        for ours, theirs in zip(kept.history, streamed.history, strict=True):
            assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-3)


@pytest.mark.slow
def test_bf16_agrees_with_fp32(backbone: Backbone, tmp_path: Path) -> None:
    many = tk.load_data({"kind": "digits", "name": "digits", "per_class": 60}, seed=0)
    found = {}
    for precision in ("fp32", "bf16"):
        settings = short_settings("finetune_few", f"trainer.precision={precision}")
        found[precision] = fit(backbone, many, settings, tmp_path / precision)
        assert found[precision].details["precision"] == precision
    accuracy = {name: (fitted.val.argmax(1) == many.val.labels).mean() for name, fitted in found.items()}
    assert accuracy["bf16"] == pytest.approx(accuracy["fp32"], abs=0.02)
    assert accuracy["fp32"] > 0.85
    # The same weights in both: hardly an image is classified otherwise.
    model = found["fp32"].model
    ours, theirs = (
        center_probabilities(
            model, many.test, make_extractor(short_settings("finetune_few", f"trainer.precision={name}"))
        )
        for name in ("bf16", "fp32")
    )
    assert (ours.argmax(1) == theirs.argmax(1)).mean() >= 0.995
    with pytest.raises(TransferkitError, match=r"trainer\.precision fp32 there and bf16 here"):
        fit(backbone, many, short_settings("finetune_few", "trainer.precision=bf16"), tmp_path / "fp32")


def test_from_scratch_knows_nothing_of_the_source(backbone: Backbone, data: ImageData, tmp_path: Path) -> None:
    settings = short_settings("from_scratch")
    context = make_context(backbone, data, settings, tmp_path)
    fresh, again = random_like(context), random_like(context)
    assert fresh.preprocess == backbone.preprocess
    for (name, ours), theirs in zip(fresh.named_parameters(), backbone.parameters(), strict=True):
        if ours.ndim > 1:
            correlation = np.corrcoef(ours.detach().flatten().numpy(), theirs.detach().flatten().numpy())[0, 1]
            assert abs(correlation) < 0.2, name
    assert all(torch.equal(a, b) for a, b in zip(fresh.parameters(), again.parameters(), strict=True))


def test_balanced_class_weights(data: ImageData) -> None:
    uneven = tk.load_data({"kind": "digits", "name": "digits", "per_class": 6, "max_test": 50}, seed=0)
    uneven.train.labels[:] = np.arange(len(uneven.train)) % 13 % 10
    plan = tk.load_strategy("finetune_few", ["strategy.class_weights=balanced"])
    weights = class_weights(plan, uneven)
    counts = np.bincount(uneven.train.labels, minlength=10)
    np.testing.assert_allclose(np.asarray(weights) * counts, len(uneven.train) / 10)
    assert class_weights(tk.load_strategy("finetune_few"), uneven) is None


def test_a_finished_phase_of_lora_is_read_again(backbone: Backbone, data: ImageData, tmp_path: Path) -> None:
    first = fit(backbone, data, short_settings("lora"), tmp_path)
    again = fit(backbone, data, short_settings("lora"), tmp_path)
    assert again.history == first.history
    np.testing.assert_array_equal(again.val, first.val)
    for (name, ours), theirs in zip(first.model.state_dict().items(), again.model.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


def test_a_changed_strategy_does_not_go_on_from_the_checkpoints(
    backbone: Backbone, data: ImageData, tmp_path: Path
) -> None:
    fit(backbone, data, short_settings("finetune_few"), tmp_path)
    with pytest.raises(
        TransferkitError, match=r"another training: .*finetune_few there and lp_ft here.*hydra\.run\.dir"
    ):
        fit(backbone, data, short_settings("lp_ft"), tmp_path)


ARGUMENTS = [
    *("strategy=gradual_unfreeze", "dataset.per_class=6", "dataset.max_test=50", "trainer.num_workers=0"),
    *(
        "trainer.device=cpu",
        "selection=val",
        "strategy.batch_size=8",
        "strategy.ema=0.9",
        "strategy.mixup=0.2",
        "augment=affine",
    ),
    *(
        f"strategy.phases.{name}.{key}"
        for name in ("top", "middle", "lower", "all")
        for key in ("epochs=2", "min_steps=0")
    ),
]


@pytest.fixture(scope="module")
def uninterrupted(transferkit: RunCommand, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("uninterrupted")
    done = transferkit(*ARGUMENTS, "hydra.run.dir=run", cwd=folder)
    assert done.returncode == 0, done.stderr
    metrics: dict[str, Any] = json.loads((folder / "run" / "metrics.json").read_text())
    return metrics


@pytest.fixture
def killed_when(python: PythonStarter, tmp_path: Path) -> Any:
    def start(reached: Any, wait: float) -> None:
        process = python.start("-m", "transferkit", *ARGUMENTS, "hydra.run.dir=run", cwd=tmp_path)
        try:
            deadline = time.monotonic() + 120
            while not reached() and process.poll() is None:
                assert time.monotonic() < deadline
                time.sleep(0.005)
            time.sleep(wait)
        finally:
            process.kill()

    return start


@pytest.mark.slow
def test_killed_in_every_phase_it_ends_with_the_same_metrics(
    transferkit: RunCommand, tmp_path: Path, uninterrupted: dict[str, Any], killed_when: Any
) -> None:
    points = np.random.default_rng(0).uniform(0, 0.3, size=4)
    for phase, wait in zip(("1_top", "2_middle", "3_lower", "4_all"), points, strict=True):
        killed_when(lambda phase=phase: any((tmp_path / "run" / "checkpoints" / phase).glob("*.ckpt")), float(wait))
    done = transferkit(*ARGUMENTS, "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    for key in ("test", "val", "phases"):
        assert metrics[key] == uninterrupted[key], key
