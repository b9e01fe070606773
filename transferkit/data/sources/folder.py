"""A folder of images: one sub-folder per class, optionally below train/, val/ and test/."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transferkit.config.dataset_keys import LAYOUT
from transferkit.data.folder_walk import FolderWalk, unreadable_folders
from transferkit.data.image_files import IMAGE_EXTENSIONS, is_image_name
from transferkit.data.imagedata import RawData
from transferkit.data.imageset import ImageSet
from transferkit.errors import TransferkitError, shown

_SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


def load(cfg: Mapping[str, Any], seed: int) -> RawData:
    """Read the layout of ``dataset.root``.

    Class names are the sorted names of the class folders, as in torchvision's `ImageFolder`; images may lie in
    sub-folders of theirs. Hidden files are passed over; files without an image's extension are counted.

    Raises:
        TransferkitError: No such folder, no images, an empty class, a class that occurs only outside train, a folder
            that cannot be listed, or one that two classes or splits lead to.
    """
    root = existing_folder(cfg["root"])
    walk = FolderWalk()
    folders = _split_folders(root, walk)
    class_names = walk.sub_folders(folders["train"])
    if not class_names:
        raise _no_classes(folders["train"])
    found = {split: _find(path, walk) for split, path in folders.items()}
    for path in {root, *folders.values()}:
        walk.count_files(path)
    if walk.unreadable and cfg.get("on_error", "error") == "error":
        raise unreadable_folders(walk.unreadable)
    _check_shared(walk, root)
    splits = {split: _split(split, path, found[split], class_names) for split, path in folders.items()}
    return RawData(class_names, splits, _note(root, folders, walk), walk.ignored, walk.unreadable)


def _note(root: Path, folders: Mapping[str, Path], walk: FolderWalk) -> str:
    used = {path.name for path in folders.values()}
    others = [name for name in walk.sub_folders(root) if name not in used] if folders["train"] != root else []
    notes = [f"beside train, not used: {shown(others)}"] if others else []
    notes += [f"links that lead back to a folder above them, not followed: {shown(walk.loops)}"] if walk.loops else []
    return "; ".join(notes)


def _check_shared(walk: FolderWalk, root: Path) -> None:
    """A real folder belongs to one class and one split, or links are wrong."""
    shared = {real: sorted(set(tops)) for real, tops in walk.reached.items() if len(set(tops)) > 1}
    if shared:
        told = [
            f"{real} is {' and '.join(os.path.relpath(top, root) for top in tops)}" for real, tops in shared.items()
        ]
        raise TransferkitError(
            f"dataset.root={root}: through links, one folder is in several classes or splits: {shown(told)}."
        )


def existing_folder(root: Any) -> Path:
    """The folder that ``dataset.root`` names, relative to the working directory or to the user's home ("~")."""
    if root is None or str(root) in ("", "???"):
        raise TransferkitError(f"dataset.root is not set. Give the folder of your images, laid out as {LAYOUT}.")
    path = Path(root).expanduser()
    if not path.exists():
        raise TransferkitError(f"dataset.root={root}: no such folder (expected at {path.absolute()}).")
    if not path.is_dir():
        raise TransferkitError(f"dataset.root={root} is a file. Give a folder, laid out as {LAYOUT}.")
    return path.absolute()


def _split_folders(root: Path, walk: FolderWalk) -> dict[str, Path]:
    """The folders of the given splits, or the root itself as train if there are none."""
    found: dict[str, Path] = {}
    names = walk.sub_folders(root)
    for split, aliases in _SPLIT_NAMES.items():
        present = [name for name in names if name.lower() in aliases]
        if len(present) > 1:
            raise TransferkitError(f"dataset.root={root} has several folders for {split}: {shown(present)}. Keep one.")
        if present:
            found[split] = root / present[0]
    if not found or (len(found) < len(names) and ("train" not in found or not walk.sub_folders(found["train"]))):
        return {"train": root}  # classes, one of which may happen to be called "train"
    if "train" not in found:
        raise TransferkitError(f"dataset.root={root} has {shown(names)} but no train folder. Expected: {LAYOUT}.")
    return found


def _find(folder: Path, walk: FolderWalk) -> dict[str, list[Path]]:
    """The images of each class folder."""
    names = walk.sub_folders(folder)
    if not names:
        raise _no_classes(folder)
    return {name: walk.images(folder / name) for name in names}


def _split(split: str, folder: Path, files: Mapping[str, list[Path]], class_names: list[str]) -> ImageSet:
    names = list(files)
    unseen = [name for name in names if name not in class_names and files[name]]
    if unseen:
        raise TransferkitError(
            f"{folder} has classes that are not in train: {shown(unseen)}. Every class needs training images; look for "
            "misspelt folder names."
        )
    empty = [name for name in names if not files[name]]
    if empty and split == "train":
        raise TransferkitError(
            f"class folders without any image in {folder}: {shown(empty)}. Add images or remove the folders (files "
            f"count as images by their extension: {' '.join(sorted(IMAGE_EXTENSIONS))})."
        )
    labels = {name: label for label, name in enumerate(class_names)}
    pairs = [(path, labels[name]) for name in names for path in files[name]]
    if not pairs:
        raise TransferkitError(f"no images in {folder}. Add some, or remove the folder.")
    return ImageSet.from_files([path for path, _ in pairs], [label for _, label in pairs])


def _no_classes(folder: Path) -> TransferkitError:
    if any(is_image_name(entry.name) for entry in os.scandir(folder)):
        return TransferkitError(
            f"dataset.root={folder} has images directly in it and no class folders. Sort them into {LAYOUT}; or give "
            "their labels in a table (dataset=csv); or, to label them with a fitted model, use task=predict images=DIR."
        )
    return TransferkitError(f"dataset.root={folder} has no class folders. Expected: {LAYOUT}.")
