"""Trained and frozen stages: gradients, modes, and the entries of the state dict that do not change."""

from collections.abc import Collection, Mapping

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def set_gradients(stages: Mapping[str, nn.Module], trained: Collection[str]) -> None:
    """Enable gradients of the trained stages' parameters, and disable those of the others.

    Args:
        stages: All stages by name; a parameter that several share is frozen if one of them is frozen.
        trained: Names.
    """
    for name in trained:
        stages[name].requires_grad_(True)
    for name, stage in stages.items():
        if name not in trained:
            stage.requires_grad_(False)


def set_modes(stages: Mapping[str, nn.Module], trained: Collection[str], batch_norm: str) -> None:
    """Put frozen stages, and the batch norm of trained ones if it uses running statistics, into eval mode.

    Args:
        stages: All stages by name, in the requested mode.
        trained: Names.
        batch_norm: "running" or "batch", as in a plan.
    """
    for name, stage in stages.items():
        if name not in trained:
            stage.eval()
        elif batch_norm == "running":
            for module in stage.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()


def frozen_entries(stages: Mapping[str, nn.Module], prefixes: Mapping[str, str], trained: Collection[str]) -> set[str]:
    """Return the entries of a module's state dict that belong to frozen stages.

    Args:
        stages: All stages by name.
        prefixes: Path of each stage in that module: "model.backbone.stages.stage1".
        trained: Names.
    """
    return {f"{prefixes[name]}.{key}" for name in stages if name not in trained for key in stages[name].state_dict()}
