"""Costs: counted by hand for a network whose stages take a second, and measured without changing anything."""

from typing import Any

import pytest
import torch

from tests.conftest import compose_settings
from transferkit.advisor.costs import Speed, Work, estimate, make_work, measure_speed
from transferkit.backbones.backbone import Backbone
from transferkit.data.imagedata import ImageData

SPEED = Speed(forward={"stage1": 1.0, "stage2": 1.0, "stage3": 1.0}, backward=2.0, load=0.5, step=0.0)
STAGES = ("stage1", "stage2", "stage3", "head")
WORK = Work(train=100, val=10, workers=0, stored=False, stages=STAGES, probes={"stage1": 5.0, "stage3": 7.0})


def plan(train: dict[str, float], **keys: Any) -> dict[str, Any]:
    return {
        "name": "test",
        "head": "random",
        "batch_size": 10,
        "phases": {"all": {"epochs": 2, "train": train}},
        **keys,
    }


def test_a_probe_is_one_pass_and_its_sweep() -> None:
    passed = 110 * (3 + 0.5)
    assert estimate({"name": "p", "probe": {"stages": ["top"]}}, WORK, SPEED) == pytest.approx(passed + 7)
    assert estimate({"name": "p", "probe": {"stages": ["*"]}}, WORK, SPEED) == pytest.approx(passed + 12)
    assert estimate({"name": "n", "neighbors": {}}, WORK, SPEED) == pytest.approx(passed)


def test_an_epoch_goes_forward_through_all_and_back_to_the_first_trained_stage() -> None:
    val = 10 * 3.5
    top = estimate(plan({"stage3": 1e-3, "head": 1e-3}), WORK, SPEED)
    assert top == pytest.approx(2 * (100 * (3 + 2 * 1 + 0.5) + val) + val)
    everything = estimate(plan({"stage*": 1e-3, "head": 1e-3}), WORK, SPEED)
    assert everything == pytest.approx(2 * (100 * (3 + 2 * 3 + 0.5) + val) + val)


def test_what_is_frozen_is_computed_once_where_it_is_kept() -> None:
    stored = Work(100, 10, 0, True, STAGES, WORK.probes)
    found = estimate(plan({"stage3": 1e-3, "head": 1e-3}), stored, SPEED)
    assert found == pytest.approx(110 * 2.5 + 2 * (100 * (1 + 2) + 10 * 1) + 10 * 3.5)


def test_each_fixed_view_is_computed_once() -> None:
    views = Work(100, 10, 0, True, STAGES, WORK.probes, views=3)
    found = estimate(plan({"stage3": 1e-3, "head": 1e-3}), views, SPEED)
    assert found == pytest.approx(210 * 2.5 + 2 * (100 * (1 + 2) + 10 * 1) + 10 * 3.5)


def test_steps_and_their_minimum_count() -> None:
    slow = Speed(SPEED.forward, 2.0, 0.5, step=1.0)
    without, with_steps = (estimate(plan({"head": 1e-3}), WORK, speed) for speed in (SPEED, slow))
    assert without is not None
    assert with_steps == pytest.approx(without + 2 * 10)
    longer = plan({"head": 1e-3}, phases={"all": {"epochs": 2, "min_steps": 60, "train": {"head": 1e-3}}})
    assert estimate(longer, WORK, slow) > 2 * without  # type: ignore[operator]


def test_another_kind_has_no_estimate() -> None:
    assert estimate({"name": "auto", "auto": {}}, WORK, SPEED) is None


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_measuring_changes_nothing(precision: str, letters_network: Backbone, digits: ImageData) -> None:
    before = {name: tensor.clone() for name, tensor in letters_network.state_dict().items()}
    speed = measure_speed(letters_network, digits.train, torch.device("cpu"), precision)
    assert set(speed.forward) == set(letters_network.feature_stages)
    assert all(seconds > 0 for seconds in (*speed.forward.values(), speed.backward, speed.load, speed.step))
    assert all(torch.equal(before[name], tensor) for name, tensor in letters_network.state_dict().items())
    assert all(parameter.grad is None for parameter in letters_network.parameters())


def test_augmentation_and_memory_decide_what_is_kept(letters_network: Backbone) -> None:
    settings = compose_settings("linear_probe", "cache.ram_gb=1")
    augmented = {**settings, "augment": {"name": "flip", "transforms": {"flip": 0.5}}}
    fixed = {**settings, "augment": {**augmented["augment"], "views": 4}}
    kept = [
        make_work((1000, 100), settings, letters_network, {}),
        make_work((1000, 100), augmented, letters_network, {}),
        make_work((1_000_000, 100), settings, letters_network, {}),
        make_work((1000, 100), fixed, letters_network, {}),
    ]
    assert [(work.stored, work.views) for work in kept] == [(True, 1), (False, 1), (False, 1), (True, 4)]
