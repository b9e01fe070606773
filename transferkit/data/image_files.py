"""Image files: recognition by name, and reading of ordinary files only."""

import os
import stat
from pathlib import Path

from PIL import features

MAX_FILE_BYTES = 2 * 1024**3

_ALWAYS = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".ppm", ".pgm", ".pbm", ".pnm", ".bmp", ".dib"}
_ALWAYS |= {".tif", ".tiff", ".gif", ".tga", ".ico"}
_WITH = {"avif": {".avif"}, "jpg_2000": {".jp2"}, "webp": {".webp"}}


def _has(feature: str) -> bool:
    known = feature in features.modules or feature in features.codecs  # older versions warn about unknown ones
    return known and bool(features.check(feature))


IMAGE_EXTENSIONS = frozenset(_ALWAYS.union(*(names for feature, names in _WITH.items() if _has(feature))))
"""torchvision's `ImageFolder` extensions and the other usual ones (lower case, with the dot), as far as this build of
Pillow reads them."""

UNSUPPORTED_EXTENSIONS = (
    frozenset(
        {".heic", ".heif", ".hif", ".avif", ".webp", ".jp2", ".j2k", ".jxl", ".svg", ".pdf", ".eps", ".ai", ".psd"}
    )
    | {".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".orf", ".rw2", ".raf", ".pef", ".srw", ".raw"}
    | {".exr", ".hdr", ".dcm", ".dicom", ".xcf", ".fits", ".pcx", ".qoi", ".dds"}
) - IMAGE_EXTENSIONS
"""Extensions of image files that are not supported."""


def is_image_name(name: str) -> bool:
    """Whether a file of this name counts as an image: not hidden, and with an extension of `IMAGE_EXTENSIONS`."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_EXTENSIONS


def read_file(path: str | Path) -> bytes:
    """Read an ordinary file whole.

    Files that could block or never end are refused: FIFOs, sockets, devices, and files without a size, as in /proc.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not an ordinary file, is empty, or has more than `MAX_FILE_BYTES`; the message says so.
    """
    _check(os.stat(path))  # before it is opened: opening alone can have effects on a device
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as file:
        _check(os.fstat(descriptor))
        return file.read()


def _check(state: os.stat_result) -> None:
    if stat.S_ISDIR(state.st_mode):
        raise ValueError("is a directory")
    if not stat.S_ISREG(state.st_mode):
        raise ValueError("not an ordinary file (a FIFO, socket or device)")
    if state.st_size == 0:
        raise ValueError("the file is empty (0 bytes)")
    if state.st_size > MAX_FILE_BYTES:
        raise ValueError(f"its {state.st_size / 1024**3:.1f} GiB are more than {MAX_FILE_BYTES / 1024**3:g} GiB a file")
