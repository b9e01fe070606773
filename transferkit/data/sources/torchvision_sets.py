"""torchvision's data sets with their official splits, as files or arrays, without decoding anything."""

import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from transferkit.data.imagedata import RawData
from transferkit.data.imageset import ImageSet
from transferkit.data.sources.torchvision_table import SETS, Arguments, Source
from transferkit.errors import TransferkitError


def load(cfg: Mapping[str, Any], seed: int) -> RawData:
    """Load ``dataset.set`` (by default the set called ``dataset.name``) from below ``dataset.root``.

    With ``dataset.download`` missing files are downloaded first. Classes without images are dropped, so that a subset
    in torchvision's own layout can be used, too.

    Raises:
        TransferkitError: An unknown set; files that are broken, or missing and not to be downloaded.
    """
    name = cfg["set"] or cfg["name"]
    if name not in SETS:
        raise TransferkitError(f"dataset.set={name} is unknown. Valid: {', '.join(sorted(SETS))}.")
    source = SETS[name]
    root = Path(cfg["root"] or "data").expanduser().absolute()
    found, official = {}, True
    for split, arguments in source.splits.items():
        found[split], verified = _open(name, source, root, arguments, bool(cfg["download"]))
        official = official and verified
    named = {split: _named(source.read(dataset, split), dataset) for split, dataset in found.items()}
    note = "" if official else "its files are not the official ones (wrong checksums)"
    return _join(named, note)


def _open(name: str, source: Source, root: Path, arguments: Arguments, download: bool) -> tuple[Any, bool]:
    """Create torchvision's data set; also return whether the checksums were right."""
    from torchvision import datasets

    cls = getattr(datasets, source.cls)
    problem: Exception | None = None
    present = (root / source.present).exists()
    if present:
        candidates = [cls] if source.pickled else [cls, _without_md5(cls)]
        for candidate in candidates:
            try:
                return candidate(root=str(root), **arguments), candidate is cls
            except Exception as error:  # whatever SciPy, NumPy or torchvision raise on missing and broken files
                problem = error
    if download and source.downloadable:
        try:
            with _timeout(20):
                return cls(root=str(root), download=True, **arguments), True
        except Exception as error:  # URLError, a refused or reset connection, a wrong check sum, a full disk, ...
            problem = error
    raise _not_there(name, source, root, problem, present, download)


def _without_md5(cls: type) -> type:
    """The same data set, content with the presence of its files.

    torchvision keeps the expected MD5 sums in tables on the class and takes None for "only check that it exists".
    """
    tables = ("_file_dict", "train_list", "test_list", "split_list")
    return type(cls.__name__, (cls,), {key: _blank_md5(getattr(cls, key)) for key in tables if hasattr(cls, key)})


def _blank_md5(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _blank_md5(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_blank_md5(item) for item in value)
    return None if isinstance(value, str) and re.fullmatch("[0-9a-f]{32}", value) else value


@contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    """Set a time limit for connections, which torchvision does not."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _not_there(
    name: str, source: Source, root: Path, problem: Exception | None, present: bool, download: bool
) -> TransferkitError:
    if present and source.pickled:
        state = "is not the official copy; pickles, which can run code, are opened only if official"
    else:
        state = "cannot be used" if present else "does not exist"
    reason = f" ({type(problem).__name__}: {' '.join(str(problem).split())})" if problem is not None else ""
    if not source.downloadable:
        how = "torchvision can no longer download this set, its address is gone. Get a copy elsewhere and"
    elif not download:
        how = "Set dataset.download=true to download it, or"
    elif present:
        how = "Remove it to download it again, or"
    else:
        how = "The download failed. Get a copy on a machine with a network and"
    return TransferkitError(
        f"dataset {name}: {root / source.present} {state}{reason}. {how} put below dataset.root={root}: "
        f"{source.wanted}. Available offline: dataset=digits, glyphs or fractals, and your own images "
        "(dataset=folder, dataset=csv)."
    )


def _named(images: ImageSet, dataset: Any) -> tuple[ImageSet, dict[int, str]]:
    """Name the labels that occur. Some sets list all classes, others only those that occur, in order."""
    present = np.unique(images.labels).tolist()
    classes = list(getattr(dataset, "classes", None) or getattr(dataset, "categories", None) or [])
    if not classes:
        return images, {label: str(label) for label in present}
    if len(classes) == len(present):
        return images, dict(zip(present, classes, strict=True))
    return images, {label: classes[label] for label in present}


def _join(named: Mapping[str, tuple[ImageSet, dict[int, str]]], note: str) -> RawData:
    """Give the classes of all splits one numbering, in the order of train."""
    class_names = list(dict.fromkeys(name for _, names in named.values() for name in names.values()))
    number = {name: label for label, name in enumerate(class_names)}
    splits = {}
    for split, (images, names) in named.items():
        splits[split] = images.relabel([number[names[label]] for label in images.labels.tolist()])
    return RawData(class_names, splits, note)
