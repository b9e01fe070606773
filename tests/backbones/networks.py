"""Common parts of the tests of backbones: an original network without its slow initialisation, and comparisons."""

from typing import Any

import torch
from torch import Tensor, nn

from transferkit.backbones.backbone import Backbone, feature


def original_of(build: Any, backbone: Backbone, **kwargs: Any) -> nn.Module:
    """The network as its library builds it, with the weights of `backbone`, loaded under its own names, all of them."""
    with torch.device("meta"):
        model: nn.Module = build(**kwargs)
    model.load_state_dict(backbone.original_state_dict(), strict=True, assign=True)
    return model.eval()


def randomise_statistics(backbone: Backbone) -> None:
    """Give batch norms statistics as after training: with those of a new network a mistake could cancel out."""
    generator = torch.Generator().manual_seed(0)
    for module in backbone.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_var is not None:
            assert module.running_mean is not None
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)


@torch.inference_mode()
def assert_same_as_original(backbone: Backbone, original: nn.Module, x: Tensor) -> None:
    """Running all stages, and going on from every one of them, gives what the original gives, bit for bit."""
    expected = original(x)
    states = backbone.forward_stages(x)
    assert list(states) == list(backbone.stage_names)
    assert expected.std() > 0
    for stage, state in states.items():
        assert torch.equal(feature(backbone.forward_from(stage, state)), expected), stage
    assert torch.equal(backbone(x), expected)
