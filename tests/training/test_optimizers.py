import copy
from typing import Any

import pytest
import torch
from timm.optim import create_optimizer_v2
from torch import nn

from transferkit.errors import TransferkitError
from transferkit.training.optimizers import OPTIMIZERS, create_optimizer


@pytest.fixture
def network() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


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


def staged(network: nn.Sequential) -> list[dict[str, Any]]:
    """Groups as a phase makes them."""
    norm: Any = network[1]
    return [
        {"params": [network[0].weight], "lr": 2e-2, "name": "stage1"},
        {"params": [norm.weight, norm.bias], "lr": 2e-2, "name": "stage1, no decay", "weight_decay": 0.0},
        {"params": [network[3].weight], "lr": 1e-2, "name": "head"},
    ]


@pytest.mark.parametrize("name", ["lamb", "lion", "muon", "adan", "nesterov", "lookahead_adamw"])
def test_timms_optimizers_are_timms_and_keep_our_groups(name: str, network: nn.Sequential) -> None:
    reference = copy.deepcopy(network)
    settings = {"name": name, "source": "timm", "weight_decay": 0.05, "lr_scale": 3.0}
    ours = create_optimizer(staged(network), settings)
    theirs: Any = staged(reference)
    if name == "muon":
        theirs[2]["use_fallback"] = True
    theirs = create_optimizer_v2(theirs, name, weight_decay=0.05, filter_bias_and_bn=False)
    assert [group["lr"] for group in ours.param_groups] == [2e-2, 2e-2, 1e-2]
    assert [group["weight_decay"] for group in ours.param_groups] == [0.05, 0.0, 0.05]
    assert [group["name"] for group in ours.param_groups] == ["stage1", "stage1, no decay", "head"]
    for _ in range(2):
        for model, optimizer in ((network, ours), (reference, theirs)):
            optimizer.zero_grad()
            model(torch.linspace(-1, 1, 54).reshape(2, 3, 3, 3)).square().sum().backward()
            optimizer.step()
    for mine, other in zip(network.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(mine, other)


def test_further_arguments_of_timms_are_passed_on(network: nn.Sequential) -> None:
    optimizer = create_optimizer(network, {"name": "lamb", "source": "timm", "kwargs": {"trust_clip": True}})
    assert optimizer.defaults["trust_clip"] is True


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "adann", "source": "timm"}, r"optimizer\.name=adann: there is no such choice\. Did you mean adan"),
        ({"name": "adahessian", "source": "timm"}, r"optimizer\.name=adahessian: there is no such choice"),
        ({"name": "lamb", "source": "timm", "kwargs": {"typo": 1}}, r"optimizer lamb: .*typo"),
        ({"name": "lamb", "source": "tim"}, r"optimizer\.source=tim must be timm"),
        ({"name": "adamv"}, r"optimizer\.name=adamv: there is no such choice\. Did you mean adam"),
        ({"name": "adamw", "momentun": 0.9}, r"optimizer\.momentun: there is no such key\. Keys of optimizer: .*betas"),
        ({"name": "sgd", "lr": -1}, r"optimizer\.lr=-1 must be null, or a number above 0"),
    ],
)
def test_optimizer_mistakes(settings: dict[str, Any], message: str, network: nn.Sequential) -> None:
    with pytest.raises(TransferkitError, match=message):
        create_optimizer(network, settings)
