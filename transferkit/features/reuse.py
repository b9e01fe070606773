"""The cost that a job is spared by a cache that other jobs filled: images found there, and the seconds they took."""

import json
from collections.abc import Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from transferkit.features.identities import Ids
from transferkit.files import write_json
from transferkit.untrusted import UnreadableFile, read_json

PACE = "pace.json"
"""In an entry: the seconds an image took when its rows were computed, decoding included."""

_SLOWEST = 86_400.0


@dataclass
class Reuse:
    """Rows that a job found in the cache and has not computed itself.

    Attributes:
        images: Their number, counted once for each entry.
        seconds: That computing them took; None if an entry does not say.
    """

    images: int = 0
    seconds: float | None = 0.0
    _seen: dict[Path, Ids] = field(default_factory=dict, repr=False)

    def found(self, entry: Path, ids: Ids) -> None:
        """Count distinct rows of an entry that are in the cache."""
        new = np.setdiff1d(ids, self._seen[entry]) if entry in self._seen else ids
        if len(new):
            pace = read_pace(entry)
            self.images += len(new)
            self.seconds = None if pace is None or self.seconds is None else self.seconds + pace * len(new)
            self.computed(entry, new)

    def computed(self, entry: Path, ids: Ids) -> None:
        """Do not count these rows of an entry from now on: this job has paid for them."""
        self._seen[entry] = np.union1d(self._seen[entry], ids) if entry in self._seen else ids

    def facts(self) -> dict[str, Any]:
        """The entry `cached` of metrics.json."""
        return {"images": self.images, "seconds": self.seconds}


_CURRENT: ContextVar[Reuse | None] = ContextVar("reuse", default=None)


def count_reuse() -> Reuse:
    """Return a new count, which every extraction of this job adds to from now on."""
    reuse = Reuse()
    _CURRENT.set(reuse)
    return reuse


def current_reuse() -> Reuse | None:
    """Return the count of this job, if it has one."""
    return _CURRENT.get()


def write_pace(entry: Path, seconds: float, images: int) -> None:
    """Note in an entry how long an image takes, unless that is known from more images."""
    known = _read(entry)
    if images and (known is None or known["images"] <= images):
        with suppress(OSError):  # the cache of somebody else; or the entry has just been removed
            write_json(entry / PACE, {"seconds": seconds / images, "images": images})


def read_pace(entry: Path) -> float | None:
    """Return the seconds that an image of an entry took; None if that is not known."""
    known = _read(entry)
    return None if known is None else float(known["seconds"])


def _read(entry: Path) -> Mapping[str, Any] | None:
    with suppress(UnreadableFile, json.JSONDecodeError):
        found = read_json(entry / PACE, 10_000)
        seconds, images = found.get("seconds"), found.get("images")
        if type(seconds) is float and 0 <= seconds <= _SLOWEST and type(images) is int and images > 0:
            return found
    return None
