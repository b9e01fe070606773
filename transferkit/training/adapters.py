"""LoRA: low-rank adapters of linear layers and convolutions, through `peft`, which end up in the weights themselves.

Hu et al. 2022, LoRA: Low-Rank Adaptation of Large Language Models. They exist during one phase only: `merge_adapters`
leaves an ordinary network, so that prediction, evaluation and other strategies do not need `peft`.
"""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from transferkit.choices import LORA_TARGETS
from transferkit.config.schema import check_node
from transferkit.config.strategy_keys import Lora
from transferkit.errors import TransferkitError

_ATTENTION = ("attn", "attention")


def has_peft() -> bool:
    """Whether `peft` is installed."""
    return find_spec("peft") is not None


def require_peft() -> None:
    """Raise a `TransferkitError` if `peft` is not installed."""
    if not has_peft():
        raise TransferkitError(
            "parameters: lora needs the package peft, which is not installed: python -m pip install "
            "'transferkit[peft]'. strategy=bitfit and strategy=norm_tune also train few parameters and need no package."
        )


def add_adapters(stages: Mapping[str, nn.Module], settings: Mapping[str, Any], where: str, seed: int) -> None:
    """Put an adapter on every target layer of some stages; the outputs stay as they are until it is trained.

    Args:
        stages: By name; changed in place.
        settings: `rank`, `alpha`, `dropout` and `targets`, as in a plan's `lora`.
        where: The key of the phase, for messages.
        seed: Of the adapters' random first matrices; the second ones are zero.

    Raises:
        TransferkitError: `peft` is not installed, or the stages have no such layers.
    """
    require_peft()
    given = check_node(Lora, settings, "strategy.lora")
    network = nn.ModuleDict(stages)
    targets = target_layers(network, given["targets"])
    if not targets:
        others = [kind for kind in LORA_TARGETS if target_layers(network, [kind])]
        hint = f"they have {', '.join(others)}" if others else "nor others that can be adapted"
        raise TransferkitError(
            f"strategy.lora.targets=[{', '.join(given['targets'])}]: the stages of {where} ({', '.join(stages)}) have "
            f"no such layers; {hint}."
        )
    from peft import LoraConfig, inject_adapter_in_model  # takes seconds

    config = LoraConfig(
        r=given["rank"], lora_alpha=given["alpha"], lora_dropout=given["dropout"], target_modules=targets, bias="none"
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        inject_adapter_in_model(config, network)


def merge_adapters(stages: Mapping[str, nn.Module]) -> None:
    """Add what the adapters have learnt to the weights of their layers, and remove them, if there are any."""
    for stage in stages.values():
        for path, module in list(stage.named_modules()):
            if not hasattr(module, "get_base_layer"):
                continue
            layer: Any = module
            if any(bool(part.weight.any()) for part in layer.lora_B.values()):
                layer.merge()
            owner, _, name = path.rpartition(".")
            setattr(stage.get_submodule(owner), name, layer.get_base_layer())


def target_layers(network: nn.Module, kinds: Sequence[str]) -> list[str]:
    """The paths of the layers of these kinds.

    Args:
        network: Any module.
        kinds: "attention": linear layers inside attention; "mlp": the other linear layers; "convolutions": but for
            grouped ones, whose few weights leave no room for a low rank. The layers of `nn.MultiheadAttention`
            (torchvision's transformers) are left out: it takes their weights without calling them, so that `peft`
            would have to change frozen weights in every step.
    """
    fused = [path for path, module in network.named_modules() if isinstance(module, nn.MultiheadAttention)]
    found: list[str] = []
    for path, module in network.named_modules():
        if any(path.startswith(f"{owner}.") for owner in fused):
            continue
        if type(module) is nn.Linear:
            kind = "attention" if any(word in path.lower() for word in _ATTENTION) else "mlp"
        elif type(module) is nn.Conv2d and module.groups == 1:
            kind = "convolutions"
        else:
            continue
        if kind in kinds:
            found.append(path)
    return found
