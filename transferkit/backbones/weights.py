"""Reading of weights files. Nothing in a file is executed."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from transferkit.errors import TransferkitError

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar")
_NESTED = ("state_dict_ema", "model_ema", "state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.")  # of DistributedDataParallel and torch.compile


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read a state dict, on the CPU.

    A dict nested under "state_dict_ema", "model_ema", "state_dict" or "model" is used (the averaged weights first,
    as timm does), and prefixes "module." and "_orig_mod." of all names are removed.

    Args:
        path: A .safetensors file, or one that `torch.save` wrote.

    Raises:
        TransferkitError: If the file is missing, damaged, holds Python objects other than tensors, or no state dict.
    """
    if not path.is_file():
        raise TransferkitError(f"backbone.weights: there is no file {path}.")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    for key in _NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise TransferkitError(f"backbone.weights: {path} holds no state dict (a mapping from names to tensors).")
    state = {str(name): value for name, value in content.items()}
    while prefix := next((prefix for prefix in _PREFIXES if state and all(n.startswith(prefix) for n in state)), ""):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _read_safetensors(path: Path) -> Any:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, error) from error


def _read_pickle(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported global" in str(error) or "Unsupported class" in str(error):
            raise TransferkitError(
                f"backbone.weights: {path} holds Python objects besides tensors, whose code loading would run; it was "
                "not loaded. Save the plain state dict, best as .safetensors."
            ) from error
        raise _damaged(path, error) from error
    except Exception as error:  # a damaged pickle can raise anything
        if "TorchScript" in str(error):
            raise TransferkitError(
                f"backbone.weights: {path} is a TorchScript archive (as OpenAI's CLIP), whose code loading would run; "
                "it was not loaded. If you trust it, save its weights with torch.save(torch.jit.load(FILE)"
                ".state_dict(), NEW_FILE), or take open_clip's file of the same model."
            ) from error
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> TransferkitError:
    # Of torch's long text only the cause: the rest advises to load without protection.
    cause = str(error).rpartition("WeightsUnpickler error:")[2].strip()
    reason = cause.split("\n")[0][:200] or type(error).__name__
    return TransferkitError(
        f"backbone.weights: {path} is truncated or is no weights file ({reason}). If it was downloaded or copied, "
        "delete it and get it again."
    )
