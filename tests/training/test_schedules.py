"""Learning-rate schedules: against their formulas, with a warm-up, and resumed from their state."""

import copy
import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from transferkit.errors import TransferkitError
from transferkit.training.schedules import SCHEDULES, constant_end, create_schedules, cycle_ends


def make_optimizer(momentum: float = 0.9) -> torch.optim.SGD:
    groups: Any = [{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in (1.0, 0.1)]
    return torch.optim.SGD(groups, lr=1.0, momentum=momentum)


def rates(settings: dict[str, Any], steps: int, epochs: int = 2) -> list[float]:
    """The learning rate of the first group before every step."""
    optimizer = make_optimizer()
    return [
        seen[0] for seen in advance(optimizer, create_schedules(optimizer, settings, epochs, steps // epochs), steps)
    ]


def advance(optimizer: Any, schedules: list[dict[str, Any]], steps: int) -> list[tuple[float, ...]]:
    """The learning rate of every group before every step, in which schedules that go by steps advance."""
    seen = []
    for _ in range(steps):
        seen.append(tuple(group["lr"] for group in optimizer.param_groups))
        optimizer.step()
        for schedule in schedules:
            if schedule["interval"] == "step":
                schedule["scheduler"].step()
    return seen


def test_cosine_rises_and_falls() -> None:
    seen = rates({"name": "cosine", "warmup": 0.2}, steps=20)
    assert seen[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert seen[4:] == pytest.approx([(1 + math.cos(math.pi * k / 16)) / 2 for k in range(16)])


@pytest.mark.parametrize(
    "keys", [{"cycles": 4}, {"cycles": 3}, {"cycles": 2, "growth": 2, "warmup": 0.2}, {"cycles": 3, "growth": 2}]
)
def test_a_cycle_ends_where_the_rate_rises_next(keys: dict[str, Any]) -> None:
    settings = {"name": "cosine_restarts", **keys}
    seen, rising = rates(settings, steps=20), round(20 * keys.get("warmup", 0))
    rises = [k for k in range(rising + 1, 20) if seen[k] > seen[k - 1]]
    assert cycle_ends(settings, 2, 10) == [*rises, 20]


def test_restarts_and_steps() -> None:
    seen = rates({"name": "cosine_restarts", "cycles": 4}, steps=20)
    assert [k for k, rate in enumerate(seen) if rate == 1.0] == [0, 5, 10, 15]
    assert rates({"name": "step", "milestones": [0.5, 0.75], "gamma": 0.1}, steps=8) == pytest.approx(
        [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01]
    )


def test_plateau_goes_by_the_loss_on_val() -> None:
    optimizer = make_optimizer()
    (schedule,) = create_schedules(optimizer, {"name": "plateau", "patience": 1}, 10, 10)
    assert isinstance(schedule["scheduler"], lr_scheduler.ReduceLROnPlateau)
    assert (schedule["interval"], schedule["monitor"]) == ("epoch", "val_loss")
    for loss in (1.0, 1.1, 1.1):
        schedule["scheduler"].step(loss)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)


def test_constant_is_no_schedule_unless_it_rises() -> None:
    assert create_schedules(make_optimizer(), {"name": "constant", "warmup": 0.0}, 2, 10) == []
    assert rates({"name": "constant", "warmup": 0.5}, steps=4) == pytest.approx([1 / 3, 2 / 3, 1, 1])


def test_linear_is_a_line_to_the_final_rate_of_every_group() -> None:
    optimizer = make_optimizer()
    seen = advance(optimizer, create_schedules(optimizer, {"name": "linear", "final_lr": 0.05}, 2, 5), 11)
    assert [first for first, _ in seen] == pytest.approx([1 - 0.095 * k for k in range(11)])
    assert [second for _, second in seen] == pytest.approx([0.1 - 0.005 * k for k in range(11)])


def test_cycles_that_grow_fill_the_training() -> None:
    seen = rates({"name": "cosine_restarts", "cycles": 3, "growth": 2}, steps=28)
    assert [k for k, rate in enumerate(seen) if rate == 1.0] == [0, 4, 12]


@pytest.mark.parametrize("name", sorted(set(SCHEDULES) - {"one_cycle"}))
def test_a_warm_up_rises_in_a_line_and_leaves_momentum_alone(name: str) -> None:
    optimizer = make_optimizer()
    seen = advance(optimizer, create_schedules(optimizer, {"name": name, "warmup": 0.25}, 4, 4), 5)
    assert [first for first, _ in seen] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert [second for _, second in seen] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1])
    assert all(group["momentum"] == 0.9 for group in optimizer.param_groups)


@pytest.mark.parametrize("cycles", [True, False])
def test_one_cycle_moves_momentum_unless_told_not_to(cycles: bool) -> None:
    optimizer = make_optimizer()
    advance(optimizer, create_schedules(optimizer, {"name": "one_cycle", "cycle_momentum": cycles}, 1, 20), 5)
    assert (optimizer.param_groups[0]["momentum"] == 0.9) is not cycles


def test_a_plateau_with_a_warm_up_falls_from_the_full_rate() -> None:
    optimizer = make_optimizer()
    rise, falling = create_schedules(optimizer, {"name": "plateau", "warmup": 0.5, "patience": 0}, 2, 4)
    advance(optimizer, [rise], 4)
    for loss in (1.0, 1.1):
        falling["scheduler"].step(loss)
    advance(optimizer, [rise], 4)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)


def test_the_constant_end_is_a_fraction_of_the_full_rate_of_every_group() -> None:
    optimizer = make_optimizer()
    advance(optimizer, create_schedules(optimizer, {"name": "cosine"}, 1, 8), 6)
    end = constant_end(optimizer, 0.5, steps=4)
    seen = advance(optimizer, [end], 7)
    for rates_then in seen[4:]:
        assert rates_then == pytest.approx((0.5, 0.05))
    assert list(seen[0]) == pytest.approx([rate * (1 + math.cos(math.pi * 6 / 8)) / 2 for rate in (1.0, 0.1)])


@pytest.mark.parametrize("warmup", [0.0, 0.3])
@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_a_resumed_schedule_goes_on_as_if_nothing_had_happened(name: str, warmup: float) -> None:
    def fresh() -> tuple[Any, list[dict[str, Any]]]:
        optimizer = make_optimizer()
        return optimizer, create_schedules(optimizer, {"name": name, "warmup": warmup}, 2, 10)

    straight, schedules = fresh()
    advance(straight, schedules, 7)
    states = copy.deepcopy([schedule["scheduler"].state_dict() for schedule in schedules])
    resumed, again = fresh()
    resumed.load_state_dict(copy.deepcopy(straight.state_dict()))
    for schedule, state in zip(again, states, strict=True):
        schedule["scheduler"].load_state_dict(state)
    assert advance(resumed, again, 13) == advance(straight, schedules, 13)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "cosin"}, r"schedule\.name=cosin: there is no such choice\. Did you mean cosine"),
        ({"name": "cosine", "gamma": 0.1}, r"schedule\.gamma: there is no such key\. Keys of schedule: .*final_lr"),
        ({"name": "cosine", "warmup": 1.5}, r"schedule\.warmup=1\.5 must be a number of at least 0 and below 1"),
        (
            {"name": "cosine_restarts", "growth": 100, "cycles": 5},
            r"growth=100 makes the last of .*=5 more than 1,000,000",
        ),
        ({"name": "cosine_restarts", "cycles": 0}, r"schedule\.cycles=0 must be a whole number from 1"),
    ],
)
def test_schedule_mistakes(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(TransferkitError, match=message):
        rates(settings, steps=4)
