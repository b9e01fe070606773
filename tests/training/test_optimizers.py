import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from transferkit.errors import TransferkitError
from transferkit.training.optimizers import OPTIMIZERS, create_optimizer, create_schedule


@pytest.fixture
def network() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def rates(settings: dict[str, Any], steps: int, epochs: int = 2) -> list[float]:
    """The learning rate before every step."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule: Any = create_schedule(optimizer, settings, epochs, steps // epochs)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule["scheduler"].step()
    return seen


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_is_torchs(name: str, network: nn.Sequential) -> None:
    reference = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    reference.load_state_dict(network.state_dict())
    kind: Any = OPTIMIZERS[name]
    theirs = kind(reference.parameters(), lr=0.01, weight_decay=0.0)
    ours = create_optimizer(network, {"name": name, "lr": 0.01, "weight_decay": 0.0})
    for model, optimizer in ((network, ours), (reference, theirs)):
        model(torch.ones(2, 3, 3, 3)).square().sum().backward()
        optimizer.step()
    for mine, other in zip(network.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(mine, other)


def test_biases_and_norms_are_not_decayed(network: nn.Sequential) -> None:
    optimizer = create_optimizer(network, {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.01})
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert {name: decay[id(p)] for name, p in network.named_parameters()} == {
        **{"0.weight": 0.01, "0.bias": 0.0, "1.weight": 0.0, "1.bias": 0.0},
        **{"3.weight": 0.01, "3.bias": 0.0},
    }


def test_groups_keep_their_rates(network: nn.Sequential) -> None:
    groups: list[dict[str, Any]] = [{"params": [network[0].weight], "lr": 0.3}, {"params": [network[3].weight]}]
    assert [group["lr"] for group in create_optimizer(groups, {"name": "sgd", "lr": 0.1}).param_groups] == [0.3, 0.1]


def test_cosine_rises_and_falls() -> None:
    seen = rates({"name": "cosine", "warmup": 0.2}, steps=20)
    assert seen[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert seen[4:] == pytest.approx([(1 + math.cos(math.pi * k / 16)) / 2 for k in range(16)])


def test_restarts_and_steps() -> None:
    seen = rates({"name": "cosine_restarts", "cycles": 4}, steps=20)
    assert [k for k, rate in enumerate(seen) if rate == 1.0] == [0, 5, 10, 15]
    assert rates({"name": "step", "milestones": [0.5, 0.75], "gamma": 0.1}, steps=8) == pytest.approx(
        [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01]
    )


def test_plateau_goes_by_the_loss_on_val() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule: Any = create_schedule(optimizer, {"name": "plateau", "patience": 1}, 10, 10)
    assert isinstance(schedule["scheduler"], lr_scheduler.ReduceLROnPlateau)
    assert (schedule["interval"], schedule["monitor"]) == ("epoch", "val_loss")
    for loss in (1.0, 1.1, 1.1):
        schedule["scheduler"].step(loss)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)


def test_constant_is_no_schedule_unless_it_rises() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    assert create_schedule(optimizer, {"name": "constant", "warmup": 0.0}, 2, 10) is None
    assert rates({"name": "constant", "warmup": 0.5}, steps=4) == pytest.approx([1 / 3, 2 / 3, 1, 1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "adamv"}, r"optimizer\.name=adamv: there is no such choice\. Did you mean adam"),
        ({"name": "adamw", "momentun": 0.9}, r"optimizer\.momentun: there is no such key\. Keys of optimizer: .*betas"),
        ({"name": "sgd", "lr": -1}, r"optimizer\.lr=-1 must be null, or a number above 0"),
    ],
)
def test_optimizer_mistakes(settings: dict[str, Any], message: str, network: nn.Sequential) -> None:
    with pytest.raises(TransferkitError, match=message):
        create_optimizer(network, settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "cosin"}, r"schedule\.name=cosin: there is no such choice\. Did you mean cosine"),
        ({"name": "cosine", "gamma": 0.1}, r"schedule\.gamma: there is no such key\. Keys of schedule: .*final_lr"),
        ({"name": "cosine", "warmup": 1.5}, r"schedule\.warmup=1\.5 must be a number of at least 0 and below 1"),
        ({"name": "plateau", "warmup": 0.1}, r"schedule\.warmup must be 0 for plateau"),
        ({"name": "cosine_restarts", "cycles": 0}, r"schedule\.cycles=0 must be a whole number from 1"),
    ],
)
def test_schedule_mistakes(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(TransferkitError, match=message):
        rates(settings, steps=4)
