"""One fit: the best epoch is kept, averages and early stopping work, several processes give what one gives."""

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

import transferkit as tk
from transferkit.data.imagedata import ImageData
from transferkit.errors import TransferkitError
from transferkit.ranking import score
from transferkit.training.averaging import moving_average
from transferkit.training.finetune_module import FinetuneModule
from transferkit.training.loaders import TrainingData
from transferkit.training.plan import Plan
from transferkit.training.run_phase import Trained, TrainSettings, check_recipe, fit_module

PHASES = {
    "head": {"epochs": 2, "train": {"head": 1e-2}},
    "tail": {"epochs": 2, "train": {"head": 1e-3, "stage[45]": 1e-3}},
}


@pytest.fixture(scope="module")
def data() -> ImageData:
    return tk.load_data({"kind": "digits", "name": "digits", "per_class": 10, "max_test": 50}, seed=0)


def make_module(**keys: Any) -> FinetuneModule:
    torch.manual_seed(0)
    backbone = tk.create_backbone("narrow_resnet10", "resnet_glyphs")
    more = {name: keys.pop(name) for name in ("optimizer",) if name in keys}
    return FinetuneModule(backbone, 10, Plan.from_mapping({"name": "test", "phases": PHASES, **keys}, **more))


def batches(module: FinetuneModule, data: ImageData) -> TrainingData:
    return TrainingData(data.train, data.val, module.model.preprocess, None, batch_size=16)


def run_phases(module: FinetuneModule, data: ImageData, folder: Path, **settings: Any) -> list[Trained]:
    return [run_phase(module, phase.name, data, folder, **settings) for phase in module.plan.phases]


def run_phase(module: FinetuneModule, name: str, data: ImageData, folder: Path, **settings: Any) -> Trained:
    module.begin(name)
    run = TrainSettings(module.plan.phase(name).epochs, device="cpu", **settings)
    return fit_module(module, batches(module, data), run, folder / name)


def weights(module: FinetuneModule) -> dict[str, Any]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_the_best_epoch_is_kept(data: ImageData, tmp_path: Path) -> None:
    module = make_module()
    trained = run_phases(module, data, tmp_path)[-1]
    best = max(trained.history, key=lambda row: score(row["val_top1"], row["val_loss"], len(data.val)))
    assert trained.best_epoch == best["epoch"]
    (done,) = (tmp_path / "tail").glob("*.ckpt")
    checkpoint = torch.load(done, weights_only=True)
    state = module.state_dict()
    assert set(checkpoint["state_dict"]) == set(state) - module.frozen_keys()
    assert all(torch.equal(value, state[name]) for name, value in checkpoint["state_dict"].items())
    assert not module.training


@pytest.mark.slow
def test_two_processes_give_what_one_gives(data: ImageData, tmp_path: Path) -> None:
    one, two = make_module(), make_module()
    start = copy.deepcopy(two.state_dict())
    alone = run_phases(one, data, tmp_path / "one")
    together = run_phases(two, data, tmp_path / "two", devices=2)
    for ours, theirs in zip(together, alone, strict=True):
        assert [row["epoch"] for row in ours.history] == [row["epoch"] for row in theirs.history]
        for a, b in zip(ours.history, theirs.history, strict=True):
            assert a == pytest.approx(b, rel=1e-3)
    for name, value in weights(one).items():
        torch.testing.assert_close(two.state_dict()[name], value, rtol=1e-3, atol=1e-5)
    trained = {name for name in start if not torch.equal(start[name], two.state_dict()[name])}
    assert all(".stage4." in name or ".stage5." in name or ".head." in name for name in trained)
    assert [path.name.split("_")[0] for path in (tmp_path / "two").rglob("*.ckpt")] == ["done", "done"]


def test_a_batch_must_divide_among_processes(data: ImageData) -> None:
    module = make_module()
    loader = batches(module, data)

    class Place:
        global_rank, world_size, current_epoch = 1, 3, 0

    loader.trainer = Place()
    with pytest.raises(TransferkitError, match=r"batch_size=16 must be a multiple of trainer\.devices=3"):
        loader.train_dataloader()


def test_processes_share_each_batch_and_the_whole_of_val(data: ImageData) -> None:
    module = make_module()
    shares: list[Any] = []
    for rank in (0, 1):
        loader = batches(module, data)
        loader.trainer = type("Place", (), {"global_rank": rank, "world_size": 2, "current_epoch": 0})()
        shares.append(([y.tolist() for _, y in loader.train_dataloader()], [y for _, y in loader.val_dataloader()]))
    alone = batches(module, data)
    alone.trainer = type("Place", (), {"global_rank": 0, "world_size": 1, "current_epoch": 0})()
    whole = [y.tolist() for _, y in alone.train_dataloader()]
    assert [a + b for a, b in zip(shares[0][0], shares[1][0], strict=True)] == whole
    labels = torch.cat([*shares[0][1], *shares[1][1]])
    assert sorted(labels.tolist()) == sorted(data.val.labels.tolist())


def test_the_average_of_the_weights_is_validated_and_kept(data: ImageData, tmp_path: Path) -> None:
    plain, averaged = make_module(), make_module()
    given = weights(plain)
    run_phases(plain, data, tmp_path / "plain")
    run_phases(averaged, data, tmp_path / "averaged", ema=0.9)
    assert not torch.equal(weights(plain)["model.head.weight"], weights(averaged)["model.head.weight"])
    for module in (plain, averaged):
        assert all(torch.equal(given[name], module.state_dict()[name]) for name in module.frozen_keys())


def test_the_moving_average_is_that_of_the_formula_and_keeps_what_does_not_change() -> None:
    a, b = torch.randn(2, 1000, generator=torch.Generator().manual_seed(0)).unbind()
    torch.testing.assert_close(moving_average(0.9, a, b), 0.9 * a + 0.1 * b)
    assert all(torch.equal(moving_average(decay, a, a), a) for decay in (0.1, 0.9, 0.999))
    assert int(moving_average(0.9, torch.tensor(3), torch.tensor(7))) == 7


def test_a_fit_leaves_torchs_switches_as_they_were(data: ImageData, tmp_path: Path) -> None:
    switches: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled(), switches.fill_uninitialized_memory
    seen = []

    class Watched(FinetuneModule):
        def on_train_epoch_end(self) -> None:
            super().on_train_epoch_end()
            seen.append((torch.are_deterministic_algorithms_enabled(), switches.fill_uninitialized_memory))

    module = make_module(phases={"head": {"epochs": 1, "train": {"head": 1e-2}}})
    module.__class__ = Watched
    run_phases(module, data, tmp_path)
    assert seen == [(True, False)]
    assert (torch.are_deterministic_algorithms_enabled(), switches.fill_uninitialized_memory) == before


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_gradients_are_clipped(precision: str, data: ImageData, tmp_path: Path) -> None:
    moved = {}
    for clip in (None, 1e-3):
        module = make_module(optimizer={"name": "sgd"})
        start = module.model.head.weight.detach().clone()  # type: ignore[operator]
        module.plan = dataclasses.replace(module.plan, phases=module.plan.phases[:1])
        run_phases(module, data, tmp_path / str(clip), gradient_clip=clip, precision=precision)
        moved[clip] = float((module.model.head.weight.detach() - start).norm())  # type: ignore[operator]
    # Not more than the rate of 1e-2 times the norm, in each of the steps.
    assert moved[1e-3] <= 1e-2 * 1e-3 * 2 * (len(data.train) // 16) * 1.001
    assert moved[1e-3] < moved[None]


def test_a_fit_ends_when_val_gets_no_better(data: ImageData, tmp_path: Path) -> None:
    module = make_module(phases={"head": {"epochs": 20, "train": {"head": 1e-12}}})
    trained = run_phases(module, data, tmp_path, early_stopping=2)[0]
    assert len(trained.history) < 20


def test_another_recipe_is_refused_and_the_same_is_not(tmp_path: Path) -> None:
    check_recipe(tmp_path, {"strategy": {"name": "a", "phases": (1, 2)}})
    check_recipe(tmp_path, {"strategy": {"name": "a", "phases": [1, 2]}})
    with pytest.raises(TransferkitError, match=r"another training: strategy\.name a there and b here\. .*hydra"):
        check_recipe(tmp_path, {"strategy": {"name": "b", "phases": [1, 2]}})
