"""The parameters that a phase trains inside a stage: all, those of its norms, its biases and norms, or its adapters."""

from collections.abc import Iterator

from torch import nn

NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def trained_parameters(stage: nn.Module, which: str) -> Iterator[nn.Parameter]:
    """Select parameters of a stage.

    Args:
        stage: A stage of a backbone.
        which: One of `choices.PARAMETERS`. "norms": scale and shift of batch norm, layer norm, group norm and their
            kin; the running statistics of batch norm are buffers, which `batch_norm` of the plan is about.
            "biases_and_norms": these and every bias (BitFit, Ben Zaken et al. 2022). "lora": the adapters.
    """
    for path, module in stage.named_modules():
        for key, parameter in module.named_parameters(recurse=False):
            if (
                which == "all"
                or (which == "lora" and ".lora_" in f"{path}.{key}")
                or (which != "lora" and _is_norm(module, path))
                or (which == "biases_and_norms" and key.endswith("bias"))
            ):
                yield parameter


def _is_norm(module: nn.Module, path: str) -> bool:
    """Whether a module normalises: by its class, or by its name if its operations were traced (group norm of timm)."""
    if isinstance(module, NORMS) or "Norm" in type(module).__name__:
        return True
    name = path.rpartition(".")[2].lower()
    return type(module) is nn.Module and ("norm" in name or name.startswith("bn"))
