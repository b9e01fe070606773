"""Learning rates of a phase, adapted to the network: the same plan then fits networks of any kind and width."""

from collections.abc import Mapping

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from transferkit.training.plan import Plan

HEAD_NORM = 200.0
"""Mean L1 norm of the features for which the head's rates in conf/strategy are meant: as in the embedded networks."""


def adapted_rates(
    rates: Mapping[str, float], network: nn.Module, plan: Plan, feature_norm: float | None, whole: bool = True
) -> dict[str, float]:
    """The learning rates of the trained stages, `strategy.head_scale` and `strategy.layer_norm_scale` applied.

    A step of Adam changes every weight of the head by about the rate, and so a logit by the rate times the L1 norm of
    the features. With 1,280 of them a rate that suits 192 turns the logits by half a unit a step: a few dozen images
    are then learnt by heart before the stages below have moved. Networks with layer norm (transformers, ConvNeXt) are
    finetuned at a tenth of the rates of those with batch norm (Dosovitskiy et al. 2021, Liu et al. 2022, appendices).

    Args:
        rates: By stage, as the phase has them.
        network: The backbone.
        plan: Says which factors apply.
        feature_norm: Mean L1 norm of the top stage's features; None if unknown, then `head_scale: auto` is 1.
        whole: Whether the phase trains whole stages; rates of adapters, or of biases alone, are as given.
    """
    head, below = 1.0, 1.0
    if plan.head_scale != "auto":
        head = float(plan.head_scale)
    elif feature_norm:
        head = min(HEAD_NORM / feature_norm, 1.0)
    if whole and plan.init == "pretrained" and normalises_layers(network):
        below = plan.layer_norm_scale
    return {name: rate * (head if name == "head" else below) for name, rate in rates.items()}


def normalises_layers(network: nn.Module) -> bool:
    """Whether a network has layer norm, and no batch norm."""
    modules = list(network.modules())
    layers = any(isinstance(module, nn.LayerNorm) for module in modules)
    return layers and not any(isinstance(module, _BatchNorm) for module in modules)
