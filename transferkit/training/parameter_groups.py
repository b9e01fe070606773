"""The optimizer's parameter groups of a phase: rates by stage and layer, norms and biases without weight decay."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from transferkit.backbones.backbone import Backbone
from transferkit.backbones.original_weights import original_name
from transferkit.training.trained_parameters import NORMS

EMBEDDINGS = {
    *("pos_embed", "pos_embedding", "absolute_pos_embed", "relative_position_bias_table", "logit_scale", "temperature"),
    *("cls_token", "class_token", "reg_token", "register_tokens", "dist_token", "mask_token"),
}
"""Names of parameters without weight decay: those that `no_weight_decay()` of timm's transformers returns."""


def parameter_groups(
    stages: Mapping[str, nn.Module],
    rates: Mapping[str, float],
    decay_norm_and_bias: bool,
    factors: Mapping[int, float] | None = None,
) -> list[dict[str, Any]]:
    """Return groups named after their stages; every parameter that asks for a gradient is in exactly one.

    Args:
        stages: By name.
        rates: Learning rate of each trained stage.
        decay_norm_and_bias: Whether weight decay applies to biases and the scales of norms too.
        factors: Multiply the rates: `id` of a parameter to its factor; 1 where it has none.
    """
    groups: dict[tuple[str, float, bool], list[nn.Parameter]] = {}
    seen = set[int]()
    for name in rates:
        for module in stages[name].modules():
            for key, parameter in module.named_parameters(recurse=False):
                if not parameter.requires_grad or id(parameter) in seen:
                    continue
                seen.add(id(parameter))
                spared = not decay_norm_and_bias and (isinstance(module, NORMS) or _is_spared(key, parameter))
                factor = 1.0 if factors is None else factors.get(id(parameter), 1.0)
                groups.setdefault((name, factor, spared), []).append(parameter)
    order = list(rates)
    return [
        {
            "params": parameters,
            "lr": rates[name] * factor,
            "name": f"{name}{'' if factor == 1 else f', rate x {factor:.3g}'}{', no decay' if spared else ''}",
            **({"weight_decay": 0.0} if spared else {}),
        }
        for (name, factor, spared), parameters in sorted(
            groups.items(), key=lambda g: (order.index(g[0][0]), *g[0][1:])
        )
    ]


def layer_factors(backbone: Backbone, decay: float) -> dict[int, float]:
    """`decay` to the power of the number of layers above each parameter's, by its `id`; a head on top counts as one.

    The layers are those of `Backbone.depths`, by which timm's `param_groups_layer_decay` scales rates; where they are
    unknown, each stage counts as one.
    """
    stages = backbone.feature_stages
    factors: dict[int, float] = {}
    for name, parameter in backbone.named_parameters():
        stage, original = name.split(".")[1], original_name(name)
        depth = len(stages) - stages.index(stage) if stage in stages else 0
        if backbone.depths:
            depth = _depth(original, backbone.depths)
        factors[id(parameter)] = decay**depth
    return factors


def _depth(name: str, depths: Mapping[str, int]) -> int:
    """Of a parameter, or of an adapter of a layer, which is as deep as that layer."""
    if name in depths:
        return depths[name]
    layer = name.split(".base_layer.")[0].split(".lora_")[0]
    return next((depth for known, depth in depths.items() if known.startswith(f"{layer}.")), 0)


def _is_spared(key: str, parameter: nn.Parameter) -> bool:
    """Whether weight decay leaves a parameter out: biases, layer scales, position embeddings and extra tokens.

    The rule of timm's `param_groups_weight_decay`.
    """
    return key.endswith("bias") or parameter.ndim <= 1 or key in EMBEDDINGS
