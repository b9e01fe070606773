"""The artifact of an ensemble: `ensemble.json`, which lists the artifacts of its members in the same folder.

Nothing outside the folder is read: a member is `members/NAME`. The SHA-256 of each member's `model.json`, which has
that of its weights, and of everything else in `ensemble.json` tell damage and exchanged files.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from transferkit.artifact import (
    ENSEMBLE_FILE,
    MEND,
    METADATA_FILE,
    WEIGHTS_FILE,
    Artifact,
    metadata_digest,
    open_artifact,
)
from transferkit.artifact_schema import MAX_CLASSES, ClassName, Digest, first_problem
from transferkit.errors import TransferkitError
from transferkit.files import new_file, write_json
from transferkit.rundir import check_done
from transferkit.untrusted import UnreadableFile, read_json

FORMAT = 1
MOST_MEMBERS = 64


class MemberPart(BaseModel):
    """One member: its folder, and the SHA-256 of everything in its `model.json`."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    folder: Annotated[str, Field(pattern=r"^members/[A-Za-z0-9_]{1,64}$")]
    metadata_sha256: Digest


class EnsembleDescription(BaseModel):
    """The whole file. Further keys are notes, for people and for `task=evaluate`."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False, frozen=True)

    format: Literal[1]
    members: Annotated[list[MemberPart], Field(min_length=1, max_length=MOST_MEMBERS)]
    class_names: Annotated[list[ClassName], Field(min_length=1, max_length=MAX_CLASSES)]
    held_out_scores: Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(max_length=10_000)] | None = None
    shares: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(max_length=MOST_MEMBERS)] | None = None
    metadata_sha256: Digest

    @model_validator(mode="after")
    def _different(self) -> "EnsembleDescription":
        folders = [member.folder for member in self.members]
        if len(set(folders)) < len(folders):
            raise ValueError("a member occurs twice")
        if self.shares is not None and len(self.shares) != len(folders):
            raise ValueError("shares are needed for all members or none")
        if self.shares is not None and abs(sum(self.shares) - 1) > 1e-3:
            raise ValueError("the shares do not add up to one")
        return self


def is_ensemble(folder: Path) -> bool:
    """Return whether `folder` holds an ensemble."""
    return (folder / ENSEMBLE_FILE).is_file()


def copy_member(artifact: Path, folder: Path) -> None:
    """Copy both files of an artifact, the metadata last, so that an interrupted copy is no artifact."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (WEIGHTS_FILE, METADATA_FILE):
        with new_file(folder / name) as temporary:
            shutil.copyfile(artifact / name, temporary)


def write_ensemble(
    folder: Path,
    members: Sequence[Path],
    held_out_scores: Sequence[float] | None,
    shares: Sequence[float] | None = None,
    **notes: Any,
) -> None:
    """Write `ensemble.json`.

    Args:
        folder: Of the ensemble.
        members: Their artifacts, in `folder/members`.
        held_out_scores: For sets of classes (`models.conformal`); None where nothing was held out.
        shares: Of the members in the mean; None for equal ones.
        **notes: Further entries, plain values.
    """
    artifacts = [open_artifact(member) for member in members]
    content = {
        "format": FORMAT,
        "members": [
            {"folder": f"members/{artifact.folder.name}", "metadata_sha256": metadata_digest(artifact.metadata)}
            for artifact in artifacts
        ],
        "class_names": artifacts[0].description.class_names,
        "held_out_scores": None if held_out_scores is None else [round(float(score), 6) for score in held_out_scores],
        **({} if shares is None else {"shares": [round(float(share), 6) for share in shares]}),
        **notes,
    }
    content = json.loads(json.dumps(content))  # as it will be read
    write_json(folder / ENSEMBLE_FILE, {**content, "metadata_sha256": metadata_digest(content)})


def open_ensemble(folder: Path) -> tuple[EnsembleDescription, Mapping[str, Any], list[Artifact]]:
    """Check an ensemble and its members' files; return its description, the same as plain values, and its members.

    Raises:
        TransferkitError: A file is missing, damaged or of another artifact, a value is invalid, the members have
            different classes, or the run is not finished.
    """
    check_done(folder)
    path = folder / ENSEMBLE_FILE
    try:
        metadata = read_json(path)
        description = EnsembleDescription.model_validate(metadata)
    except UnreadableFile as error:
        raise TransferkitError(f"{error}. {MEND}") from None
    except ValidationError as error:
        raise _damaged(path, first_problem(error)) from None
    if description.metadata_sha256 != metadata_digest(metadata):
        raise _damaged(path, "its SHA-256")
    artifacts = [open_artifact(folder / member.folder) for member in description.members]
    for member, artifact in zip(description.members, artifacts, strict=True):
        if member.metadata_sha256 != metadata_digest(artifact.metadata):
            raise _damaged(path, f"{member.folder} is another model")
        if artifact.description.class_names != description.class_names:
            raise _damaged(path, f"{member.folder} has other classes")
    return description, metadata, artifacts


def read_notes(folder: Path) -> dict[str, Any]:
    """Return the metadata of a model or an ensemble, with the notes on its data."""
    return dict(open_ensemble(folder)[1] if is_ensemble(folder) else open_artifact(folder).metadata)


def _damaged(path: Path, why: str) -> TransferkitError:
    return TransferkitError(f"{path} is damaged, or was changed since it was written ({why}). {MEND}")
