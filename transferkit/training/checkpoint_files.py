"""The checkpoint files of one fit: atomic, verified by SHA-256, with the previous generation as a backup."""

import hashlib
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from transferkit.files import new_file, write_json
from transferkit.untrusted import UnreadableFile, read_json

log = logging.getLogger(__name__)

MANIFEST = "checkpoints.json"
KEPT = 2
_NAME = re.compile(r"[a-z]+_(\d+)\.ckpt")


class CheckpointFiles:
    """A folder of generations: files that belong together, such as the last epoch's state and the best weights.

    `checkpoints.json` names the files of the newest two generations and their SHA-256. It is replaced after the files
    of a new one are on the disk, so a killed writer leaves the previous generation intact.

    Args:
        folder: Of one fit; created on the first write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._damaged: set[str] = set()

    def write(self, contents: Mapping[str, Mapping[str, Any]], *, alone: bool = False) -> None:
        """Add a generation of `contents` (kind to plain containers and tensors).

        Args:
            contents: Missing kinds are taken from the previous generation.
            alone: Whether to remove everything else instead: other kinds and older generations.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        before = [] if alone else self._generations()
        number = 1 + max((int(match[1]) for match in map(_NAME.fullmatch, self._names()) if match), default=0)
        added = {kind: self._write_file(f"{kind}_{number}.ckpt", content) for kind, content in contents.items()}
        kept = [{**(before[0] if before else {}), **added}, *before][:KEPT]
        write_json(self.folder / MANIFEST, {"generations": kept})
        named = {file["file"] for generation in kept for file in generation.values()}
        for name in self._names():
            if _NAME.fullmatch(name) and name not in named:
                (self.folder / name).unlink(missing_ok=True)

    def newest(self) -> dict[str, Path]:
        """Return kind to file of the newest generation whose files are all intact; empty if there is none.

        Damaged files are named in the log.
        """
        generations = self._generations()
        for place, generation in enumerate(generations):
            bad = [name for name in generation.values() if not self._is_intact(name)]
            if not bad:
                if place:
                    log.warning("Training goes on from the checkpoint before.")
                return {kind: self.folder / entry["file"] for kind, entry in generation.items()}
            for entry in bad:
                self._damaged.add(entry["file"])
                log.warning("The checkpoint %s is missing or damaged (its SHA-256).", self.folder / entry["file"])
        if generations:
            log.warning("No intact checkpoint is left in %s: training starts anew.", self.folder)
        return {}

    def _write_file(self, name: str, content: Mapping[str, Any]) -> dict[str, str]:
        with new_file(self.folder / name) as temporary:
            # Through Python's file: torch tells of a full disk without saying that it is full.
            with temporary.open("wb") as file:
                torch.save(dict(content), file)
            return {"file": name, "sha256": _sha256(temporary)}

    def _names(self) -> list[str]:
        return [path.name for path in self.folder.glob("*.ckpt")]

    def _generations(self) -> list[dict[str, dict[str, str]]]:
        """As the manifest has them, without those known to be damaged; the newest first."""
        path = self.folder / MANIFEST
        if not path.exists() and not self._names():
            return []
        try:
            generations = read_json(path)["generations"]
            for generation in generations:
                for entry in generation.values():
                    if not _NAME.fullmatch(entry["file"]) or not isinstance(entry["sha256"], str):
                        raise ValueError(entry["file"])
        except (UnreadableFile, ValueError, KeyError, TypeError, AttributeError):
            log.warning(
                "%s is missing or damaged, so nothing tells whether the checkpoints beside it are intact: training "
                "starts anew.",
                path,
            )
            return []
        return [g for g in generations if not any(entry["file"] in self._damaged for entry in g.values())]

    def _is_intact(self, entry: Mapping[str, str]) -> bool:
        try:
            return _sha256(self.folder / entry["file"]) == entry["sha256"]
        except OSError:
            return False


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the content of an intact checkpoint, of which as much is read as is used; on the CPU."""
    checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return checkpoint


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
