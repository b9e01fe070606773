"""The artifact: `model.safetensors` and `model.json` in one folder. Reading it executes nothing.

The tensors are named `backbone.<parameter of the original network>`, `head.weight` and `head.bias`; backbone and head
are separate, so that another class count, another strategy or a plain `nn.Module` can start from the backbone.

`model.json` holds the SHA-256 of both files, so that damage, and files of different artifacts, are detected.
Artifacts of format 1, which has no hashes, are read without that check.
"""

import errno
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, float32

from transferkit.artifact_schema import FORMAT, ModelDescription, NeighborsPart, first_problem
from transferkit.errors import TransferkitError
from transferkit.files import new_file, write_json
from transferkit.rundir import check_done
from transferkit.tensor_header import TensorInfo, read_header
from transferkit.untrusted import UnreadableFile, read_json

WEIGHTS_FILE = "model.safetensors"
METADATA_FILE = "model.json"
ENSEMBLE_FILE = "ensemble.json"
REQUIRED = ("format", "backbone", "stage", "head", "class_names", "preprocessing")
CLASSES = 2
"""The format of an artifact whose model predicts classes."""
MEND = "Fit again, or restore both files of the artifact."


@dataclass(frozen=True)
class Artifact:
    """An artifact whose files have been checked; tensors are read on demand.

    Attributes:
        folder: Its folder.
        description: The content of `model.json`.
        metadata: The same as plain values, including notes.
        shapes: Type and shape of every tensor, by its name in the file.
    """

    folder: Path
    description: ModelDescription
    metadata: Mapping[str, Any]
    shapes: Mapping[str, TensorInfo]

    def tensors(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors whose name starts with `prefix`, without it; floating point ones as float32.

        Raises:
            TransferkitError: the file has been damaged since it was checked.
        """
        path = self.folder / WEIGHTS_FILE
        try:
            with safe_open(path, framework="pt") as file:
                found = {name: file.get_tensor(name) for name in self.shapes if name.startswith(prefix)}
        except (SafetensorError, OSError) as error:
            raise TransferkitError(f"{path} cannot be read ({error}). {MEND}") from None
        return {
            name.removeprefix(prefix): tensor.to(float32) if tensor.is_floating_point() else tensor
            for name, tensor in found.items()
        }


def is_artifact(folder: Path) -> bool:
    """Return whether `folder` holds an artifact."""
    return (folder / METADATA_FILE).is_file()


def write_artifact(folder: Path, metadata: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write both files, the metadata last, so that an interrupted write leaves no readable artifact."""
    folder.mkdir(parents=True, exist_ok=True)
    with new_file(folder / WEIGHTS_FILE) as temporary:
        try:
            save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, temporary)
        except SafetensorError as error:  # a full disk is reported as text
            number = re.search(r"os error (\d+)", str(error))
            code = int(number[1]) if number else errno.EIO
            raise OSError(code, os.strerror(code), str(folder / WEIGHTS_FILE)) from error
        digest = _sha256(temporary)
    version = FORMAT if "target" in metadata else CLASSES
    content = json.loads(json.dumps({"format": version, **metadata, "weights_sha256": digest}))  # as it will be read
    write_json(folder / METADATA_FILE, {**content, "metadata_sha256": metadata_digest(content)})
    # safetensors creates files readable only by their owner; both files get the same permissions.
    (folder / WEIGHTS_FILE).chmod((folder / METADATA_FILE).stat().st_mode)


def read_metadata(folder: Path) -> dict[str, Any]:
    """Return the content of `model.json`; see `open_artifact`."""
    return dict(open_artifact(folder).metadata)


def open_artifact(folder: Path) -> Artifact:
    """Check both files of an artifact, before anything in them is used or allocated.

    Raises:
        TransferkitError: the folder or one of its files is missing, damaged or of another artifact, a value is
            invalid, the format is newer, or the run is not finished.
    """
    path = folder / METADATA_FILE
    if not folder.is_dir():
        raise TransferkitError(f"{folder} is not a folder: a run directory is wanted (it holds {METADATA_FILE}).")
    check_done(folder)
    if (folder / ENSEMBLE_FILE).is_file():
        member = min((folder / "members").glob("*"), default=folder / "members/1")
        raise TransferkitError(
            f"{folder} holds an ensemble, where one model is wanted: name a member, such as {member}. "
            "strategy.auto.average=false and ensemble=1 fit one model."
        )
    if not path.is_file():
        raise TransferkitError(
            f"{folder} holds no {METADATA_FILE}, so it is not the run directory of a finished fit or pretraining."
        )
    try:
        metadata = read_json(path)
        description = _checked(path, metadata)
        shapes = read_header(folder / WEIGHTS_FILE)
        _check_shapes(folder / WEIGHTS_FILE, description, shapes)
        _check_hashes(folder, description, metadata)
    except UnreadableFile as error:
        raise TransferkitError(f"{error}. {MEND}") from None
    return Artifact(folder, description, metadata, shapes)


def _checked(path: Path, metadata: Mapping[str, Any]) -> ModelDescription:
    missing = [key for key in REQUIRED if key not in metadata]
    if missing:
        raise UnreadableFile(path, f"lacks {', '.join(missing)}: it was not written by transferkit, or is damaged")
    version = metadata["format"]
    if type(version) is int and version > FORMAT:
        raise TransferkitError(
            f"{path} has format {version}; this version reads formats up to {FORMAT}: use a later transferkit."
        )
    try:
        return ModelDescription.model_validate(metadata)
    except ValidationError as error:
        raise UnreadableFile(path, f"is damaged, or of another transferkit ({first_problem(error)})") from None


def _check_shapes(path: Path, description: ModelDescription, shapes: Mapping[str, TensorInfo]) -> None:
    """Compare the tensors of the head, and those from held-out images, with their description."""
    head = description.head
    if isinstance(head, NeighborsPart):
        wanted = {"gallery": (head.rows, head.in_features), "labels": (head.rows,)}
    else:
        wanted = {"weight": (head.num_classes, head.in_features), "bias": (head.num_classes,)}
    _compare_shapes(path, "head", wanted, shapes)
    known, scores = description.known, description.held_out_scores
    _compare_shapes(path, "known", {"rows": (known.rows, known.in_features)} if known else {}, shapes)
    _compare_shapes(path, "held_out", {"scores": (scores,)} if scores else {}, shapes)


def _compare_shapes(
    path: Path, part: str, wanted: Mapping[str, tuple[int, ...]], shapes: Mapping[str, TensorInfo]
) -> None:
    found = {name.removeprefix(f"{part}."): s.shape for name, s in shapes.items() if name.startswith(f"{part}.")}
    if found != wanted:
        listed = [
            ", ".join(f"{name} {list(shape)}" for name, shape in sorted(tensors.items())) or "no tensors"
            for tensors in (found, wanted)
        ]
        raise UnreadableFile(path, f"does not go with {METADATA_FILE}: its {part} has {listed[0]}, not {listed[1]}")


def _check_hashes(folder: Path, description: ModelDescription, metadata: Mapping[str, Any]) -> None:
    wanted = description.metadata_sha256
    if wanted is not None and wanted != metadata_digest(metadata):
        raise UnreadableFile(folder / METADATA_FILE, "is damaged, or was changed since it was written (its SHA-256)")
    path = folder / WEIGHTS_FILE
    if description.weights_sha256 not in (None, _digest(path)):
        raise UnreadableFile(path, f"is damaged, or of another artifact than {METADATA_FILE} (its SHA-256)")


def _digest(path: Path) -> str:
    """SHA-256 of a file, computed once per process for an unchanged file."""
    about = path.stat()
    return _sha256(path, (about.st_ino, about.st_size, about.st_mtime_ns))


@lru_cache(maxsize=64)
def _sha256(path: Path, version: tuple[int, ...] = ()) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def metadata_digest(metadata: Mapping[str, Any]) -> str:
    """SHA-256 of everything in `model.json` except this entry, independent of order and layout."""
    rest = {key: value for key, value in metadata.items() if key != "metadata_sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
