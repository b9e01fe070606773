"""The optimizer's parameter groups of a phase: each stage its learning rate, norms and biases without weight decay."""

from collections.abc import Mapping
from typing import Any

from torch import nn

NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.LocalResponseNorm)


EMBEDDINGS = {
    *("pos_embed", "pos_embedding", "absolute_pos_embed", "relative_position_bias_table", "logit_scale", "temperature"),
    *("cls_token", "class_token", "reg_token", "register_tokens", "dist_token", "mask_token"),
}
"""Names of parameters without weight decay: those that `no_weight_decay()` of timm's transformers returns."""


def parameter_groups(
    stages: Mapping[str, nn.Module], rates: Mapping[str, float], decay_norm_and_bias: bool
) -> list[dict[str, Any]]:
    """Return groups named after their stages; every parameter that asks for a gradient is in exactly one.

    Args:
        stages: By name.
        rates: Learning rate of each trained stage.
        decay_norm_and_bias: Whether weight decay applies to biases and the scales of norms too.
    """
    groups: list[dict[str, Any]] = []
    seen = set[int]()
    for name, rate in rates.items():
        split: dict[str, list[nn.Parameter]] = {name: [], f"{name}, no decay": []}
        for module in stages[name].modules():
            for key, parameter in module.named_parameters(recurse=False):
                if not parameter.requires_grad or id(parameter) in seen:
                    continue
                seen.add(id(parameter))
                spared = not decay_norm_and_bias and (isinstance(module, NORMS) or _is_spared(key, parameter))
                split[f"{name}, no decay" if spared else name].append(parameter)
        for label, parameters in split.items():
            decay: dict[str, float] = {} if label == name else {"weight_decay": 0.0}
            if parameters:
                groups.append({"params": parameters, "lr": rate, "name": label, **decay})
    return groups


def _is_spared(key: str, parameter: nn.Parameter) -> bool:
    """Whether weight decay leaves a parameter out: biases, layer scales, position embeddings and extra tokens.

    The rule of timm's `param_groups_weight_decay`.
    """
    return key.endswith("bias") or parameter.ndim <= 1 or key in EMBEDDINGS
