"""The artifact: `model.safetensors` and `model.json` in one folder. Reading it executes nothing.

The tensors are named `backbone.<parameter of the original network>`, `head.weight` and `head.bias`; backbone and head
are apart, so that another class count, another strategy or a plain `nn.Module` can start from the backbone.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from transferkit.errors import TransferkitError
from transferkit.files import write_json

FORMAT = 1
WEIGHTS_FILE = "model.safetensors"
METADATA_FILE = "model.json"
REQUIRED = ("format", "backbone", "stage", "head", "class_names", "preprocessing")


def is_artifact(folder: Path) -> bool:
    """Return whether `folder` holds an artifact."""
    return (folder / METADATA_FILE).is_file()


def write_artifact(folder: Path, metadata: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write both files; the metadata last, so that an interrupted write leaves no artifact."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{WEIGHTS_FILE}.{os.getpid()}"
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, temporary)
    os.replace(temporary, folder / WEIGHTS_FILE)
    write_json(folder / METADATA_FILE, {"format": FORMAT, **metadata})
    # safetensors makes its files readable by their owner alone; whoever may read one of the two may read the other.
    (folder / WEIGHTS_FILE).chmod((folder / METADATA_FILE).stat().st_mode)


def read_metadata(folder: Path) -> dict[str, Any]:
    """Return the content of `model.json`.

    Raises:
        TransferkitError: the folder, the file or one of its keys is missing, or it is of a later format.
    """
    path = folder / METADATA_FILE
    if not folder.is_dir():
        raise TransferkitError(f"{folder} is not a folder: a run directory is wanted (it holds {METADATA_FILE}).")
    if not path.is_file():
        raise TransferkitError(
            f"{folder} holds no {METADATA_FILE}, so it is not the run directory of a finished fit or pretraining."
        )
    try:
        metadata: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TransferkitError(f"{path} is damaged ({error}): fit again, or restore the file.") from None
    missing = [key for key in REQUIRED if not isinstance(metadata, dict) or key not in metadata]
    if missing:
        raise TransferkitError(f"{path} lacks {', '.join(missing)}: it was not written by transferkit, or is damaged.")
    if metadata["format"] != FORMAT:
        raise TransferkitError(
            f"{path} has format {metadata['format']}; this version reads format {FORMAT}: use a matching transferkit."
        )
    return metadata


def read_tensors(folder: Path, prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose name starts with `prefix`, without the prefix, as float32 where they are floating point.

    Raises:
        TransferkitError: the file is missing or damaged.
    """
    path = folder / WEIGHTS_FILE
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise TransferkitError(f"Cannot read {path} ({error}): the file is missing or damaged; fit again.") from None
    return {
        name.removeprefix(prefix): tensor.to(torch.float32) if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
