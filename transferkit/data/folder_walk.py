"""Walking folders for images: links, loops, unreadable folders, and files that are not read."""

import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from transferkit.data.image_files import UNSUPPORTED_EXTENSIONS, is_image_name
from transferkit.data.images import explain
from transferkit.errors import TransferkitError, listed, shown_text

SPECIAL = "FIFOs, sockets or devices"
OUTSIDE = "outside the class folders"
_KINDS_SHOWN = 8


@dataclass
class FolderWalk:
    """One walk through the folders of a data set, and the files and folders that it did not read.

    Links are followed, but not one that leads back to a folder that it lies in. Hidden files and folders are passed
    over without a word.

    Attributes:
        ignored: Files that were not read, counted by extension.
        unreadable: (path, reason) of folders that cannot be listed, and of links that cannot be followed.
        loops: Links that lead back.
        reached: Real path of each folder with images to the folders that `images` was asked for and that led there.
    """

    ignored: Counter[str] = field(default_factory=Counter)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    loops: list[str] = field(default_factory=list)
    reached: dict[str, list[str]] = field(default_factory=dict)

    def images(self, folder: Path) -> list[Path]:
        """Image files in a folder and below: of each folder its files, then its sub-folders, both sorted by name.

        Each real folder is visited once, however many links lead there.
        """
        found: list[Path] = []
        top = os.path.realpath(folder)
        seen: set[str] = set()
        waiting = [(str(folder), top)]
        while waiting:
            path, real = waiting.pop()
            if real in seen:
                continue
            seen.add(real)
            folders, files = self._parted(path)
            names = [entry.name for entry in files if is_image_name(entry.name)]
            self._ignore(entry.name for entry in files if not is_image_name(entry.name))
            if names:
                self.reached.setdefault(real, []).append(str(folder))
                found += (Path(path, name) for name in names)
            for entry in reversed(folders):
                target = self._real(entry, real, top)
                if target is not None:
                    waiting.append((entry.path, target))
        return found

    def sub_folders(self, folder: Path) -> list[str]:
        """Names of the folders in a folder, sorted.

        Raises:
            TransferkitError: It cannot be listed.
        """
        before = len(self.unreadable)
        real = os.path.realpath(folder)
        folders, _ = self._parted(str(folder), count=False)
        if any(path == str(folder) for path, _ in self.unreadable[before:]):
            raise unreadable_folders(self.unreadable[before:])
        return [
            entry.name for entry in folders if entry.name != "__MACOSX" and self._real(entry, real, real) is not None
        ]

    def count_files(self, folder: Path) -> None:
        """Count the files of a folder that should hold only folders among the `ignored`."""
        _, files = self._parted(str(folder))
        self._ignore(entry.name for entry in files)

    def _parted(self, path: str, count: bool = True) -> tuple[list[os.DirEntry[str]], list[os.DirEntry[str]]]:
        """Folders and files in a folder, each sorted by name, without hidden ones."""
        folders, files = [], []
        try:
            with os.scandir(path) as entries:
                visible = sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
        except OSError as error:
            self.unreadable.append((path, explain(error)))
            return [], []
        for entry in visible:
            try:
                if entry.is_dir():
                    folders.append(entry)
                elif entry.is_file() or not os.path.exists(entry.path):
                    files.append(entry)  # a link to nothing too: if it is called an image, one is missing
                elif count:
                    self.ignored[SPECIAL] += 1
            except OSError as error:  # a link in circles, or to what may not be looked at
                if is_image_name(entry.name):
                    files.append(entry)  # told with the other images that cannot be read
                elif count:
                    self.unreadable.append((entry.path, explain(error)))
        return folders, files

    def _real(self, entry: os.DirEntry[str], real: str, top: str) -> str | None:
        """The real path of a folder that was met in the folder `real`; None where it leads back."""
        if not entry.is_symlink():
            return os.path.join(real, entry.name)
        target = os.path.realpath(entry.path)
        if _holds(target, real) or _holds(target, top):
            if entry.path not in self.loops:
                self.loops.append(entry.path)
            return None
        return target

    def _ignore(self, names: Iterable[str]) -> None:
        for name in names:
            extension = os.path.splitext(name)[1].lower()[:16] or "without extension"
            self.ignored[f"{extension} {OUTSIDE}" if is_image_name(name) else extension] += 1


def _holds(folder: str, path: str) -> bool:
    """Whether `path` is `folder` or lies below it; both are real."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def unreadable_folders(unreadable: Sequence[tuple[str, str]]) -> TransferkitError:
    """The one error for all folders that cannot be listed."""
    count = "1 folder" if len(unreadable) == 1 else f"{len(unreadable)} folders"
    return TransferkitError(
        f"{count} cannot be read. Make them readable, or set dataset.on_error=skip to leave them out:"
        f"{listed([f'{path}: {reason}' for path, reason in unreadable])}"
    )


def ignored_files(ignored: Mapping[str, int]) -> str:
    """A sentence on the files that were passed over, such as "12 files were not read: 10 .heic, 2 .txt."."""
    total = sum(ignored.values())
    most = Counter(ignored).most_common()
    kinds = ", ".join(f"{count} {shown_text(kind)}" for kind, count in most[:_KINDS_SHOWN])
    rest = sum(count for _, count in most[_KINDS_SHOWN:])
    of_others = f", {rest} of other kinds" if rest else ""
    told = f"{total} file{' was' if total == 1 else 's were'} not read: {kinds}{of_others}."
    images = [kind for kind, _ in most if kind in UNSUPPORTED_EXTENSIONS]
    return f"{told} To use the {', '.join(images)} files, convert them to JPEG or PNG." if images else told


def ignored_level(ignored: Mapping[str, int]) -> int:
    """How serious that is, as a level of logging: a warning where images are among the files."""
    images = any(kind in UNSUPPORTED_EXTENSIONS or kind.endswith(OUTSIDE) for kind in ignored)
    return logging.WARNING if images else logging.INFO
