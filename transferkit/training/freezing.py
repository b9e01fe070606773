"""Trained and frozen parts of a network: gradients, modes, and the entries of the state dict that do not change."""

from collections.abc import Collection, Mapping

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from transferkit.training.auxiliary import GROUP
from transferkit.training.trained_parameters import trained_parameters


def set_gradients(stages: Mapping[str, nn.Module], trained: Collection[str], which: str = "all") -> set[str]:
    """Enable gradients of the parameters that a phase trains, and disable those of the others.

    Args:
        stages: All stages by name; a parameter that several share is frozen if one of them is frozen.
        trained: Names.
        which: The parameters trained inside them, one of `choices.PARAMETERS`; of the head and of auxiliary
            classifiers, all.

    Returns:
        The stages that have such parameters: any other (the patch embedding, without norms) is frozen too.
    """
    having: set[str] = set()
    for name in trained:
        stages[name].requires_grad_(False)
        for parameter in trained_parameters(stages[name], "all" if name in ("head", GROUP) else which):
            parameter.requires_grad_(True)
            having.add(name)
    having = set(trained) if which == "all" else having
    for name, stage in stages.items():
        if name not in having:
            stage.requires_grad_(False)
    return having


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
    """Return the entries of a module's state dict that no step changes: frozen stages, and frozen parameters of others.

    Args:
        stages: All stages by name.
        prefixes: Path of each stage in that module: "model.backbone.stages.stage1".
        trained: Names.
    """
    frozen: set[str] = set()
    for name, stage in stages.items():
        without = (key for key, value in stage.named_parameters(remove_duplicate=False) if not value.requires_grad)
        keys = without if name in trained else stage.state_dict()
        frozen |= {f"{prefixes[name]}.{key}" for key in keys}
    return frozen
