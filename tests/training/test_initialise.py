"""How weights start, against the papers' formulas."""

import math
from typing import Any

import pytest
import torch
from torch import nn

import transferkit as tk
from transferkit.choices import INIT_METHODS
from transferkit.errors import TransferkitError
from transferkit.training.initialise import LAYERS, initialise, random_walk_gain

METHODS = [method for method in INIT_METHODS if method != "default"]


def wide() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(16, 200, 3), nn.BatchNorm2d(200), nn.ReLU(), nn.Flatten(), nn.Linear(200, 400))


@pytest.mark.parametrize(
    ("method", "of_conv", "of_linear"),
    [
        ("gaussian", 0.02, 0.02),
        ("xavier", math.sqrt(2 / (16 * 9 + 200 * 9)), math.sqrt(2 / 600)),
        ("he", math.sqrt(2 / (16 * 9)), math.sqrt(2 / 200)),
        ("random_walk", random_walk_gain(144, "relu") / 12, random_walk_gain(200, "relu") / math.sqrt(200)),
    ],
)
def test_the_spread_of_random_weights(method: str, of_conv: float, of_linear: float) -> None:
    network: Any = wide()
    initialise(network, method, value=0.02)
    for layer, expected in ((network[0], of_conv), (network[4], of_linear)):
        assert float(layer.weight.std()) == pytest.approx(expected, rel=0.03)
        assert float(layer.weight.mean().abs()) < expected / 50
        assert not layer.bias.any()
    assert (network[1].weight == 1).all()


def test_the_factors_of_random_walks() -> None:
    """Sussillo & Abbott 2014, equations 11 and 17."""
    assert random_walk_gain(100, "tanh") == pytest.approx(math.exp(0.005))
    assert random_walk_gain(100, "relu") == pytest.approx(math.sqrt(2) * math.exp(1.2 / 97.6))
    assert random_walk_gain(2, "relu") == random_walk_gain(6, "relu")


def test_a_random_walk_has_no_drift() -> None:
    """The logarithm of the norm that a narrow, deep linear network passes back is zero on average, unlike Xavier's."""
    drift = {}
    for method in ("random_walk", "xavier"):
        logs = []
        for seed in range(20):
            network = nn.Sequential(*(nn.Linear(10, 10, bias=False) for _ in range(100)))
            initialise(network, method, activation="linear", seed=seed)
            gradient = torch.randn(10, generator=torch.Generator().manual_seed(seed))
            before = gradient.norm()
            for layer in reversed(network):
                gradient = layer.weight.detach().T @ gradient  # type: ignore[operator]
            logs.append(float((gradient.norm() / before).log()))
        drift[method] = sum(logs) / len(logs)
    assert abs(drift["random_walk"]) < 2.5  # a standard error of about 0.7
    assert drift["xavier"] < -3


def test_orthogonal_weights_are() -> None:
    network: Any = wide()
    initialise(network, "orthogonal", activation="linear")
    torch.testing.assert_close(network[4].weight.T @ network[4].weight, torch.eye(200), atol=1e-4, rtol=0)
    initialise(network, "orthogonal")
    torch.testing.assert_close(network[4].weight.T @ network[4].weight, 2 * torch.eye(200), atol=1e-4, rtol=0)


def test_lsuv_gives_every_layer_of_a_backbone_unit_variance() -> None:
    backbone = tk.create_backbone("narrow_vgg8", None)
    images = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    initialise(backbone, "lsuv", inputs=images)
    seen: list[float] = []
    for layer in backbone.modules():
        if isinstance(layer, LAYERS):
            layer.register_forward_hook(lambda _m, _i, out: seen.append(float(out.std())))
    with torch.no_grad():
        backbone.eval()(images)
    assert len(seen) >= 8
    assert seen == pytest.approx([1.0] * len(seen), rel=1e-3)


def test_constant_and_default() -> None:
    network: Any = wide()
    before = network[0].weight.clone()
    initialise(network, "default")
    assert torch.equal(network[0].weight, before)
    initialise(network, "constant", value=-0.5)
    assert (network[0].weight == -0.5).all()


def test_the_seed_says_which_weights() -> None:
    networks = [wide() for _ in range(3)]
    for network, seed in zip(networks, (0, 0, 1), strict=True):
        initialise(network, "he", seed=seed)
    first, same, other = (network[4].weight for network in networks)
    assert torch.equal(first, same)  # type: ignore[arg-type]
    assert not torch.equal(first, other)  # type: ignore[arg-type]


def test_mistakes() -> None:
    with pytest.raises(TransferkitError, match=r"there is no method 'hee'"):
        initialise(wide(), "hee")
    with pytest.raises(TransferkitError, match="lsuv scales weights by the outputs for a batch"):
        initialise(wide(), "lsuv")
