"""Decoding of image files to 8-bit RGB."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from transferkit.data.decode_memory import fit_in_memory
from transferkit.data.image_files import read_file
from transferkit.errors import TransferkitError, shown_text

log = logging.getLogger(__name__)

DECODE_VERSION = 2
"""Increased whenever `decode` returns different pixels than before, so that cached features are recomputed."""

_FORMATS = ("JPEG", "PNG", "PPM", "BMP", "DIB", "TIFF", "GIF", "WEBP", "AVIF", "JPEG2000", "ICO", "TGA")
"""Supported formats, whatever the file extension. Pillow supports more, some by starting other programs."""

_BIG = 256 * 1024**2
"""Bytes from which images are decoded one at a time in a process, so that its threads do not add up."""
_one_big_image = threading.Lock()


class UnreadableImage(TransferkitError):
    """A file that cannot be decoded: the message names it and says why.

    Attributes:
        path: The file, or its name.
        reason: Why, in words.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"cannot read image {shown_text(path)}: {shown_text(reason)}")
        self.path = path
        self.reason = reason

    def __reduce__(self) -> tuple[type["UnreadableImage"], tuple[str, str]]:
        """Support pickling, to pass from a data-loading worker to the main process."""
        return type(self), (self.path, self.reason)


def decode(
    source: str | Path | bytes | Image.Image, name: str | None = None, at_least: int | None = None
) -> Image.Image:
    """Decode an image of any mode to 8-bit RGB.

    EXIF rotation is applied; transparency is composited on white; animations are reduced to their first frame; 16-bit
    (and integer) gray is scaled linearly from 0..65535; floating-point gray from 0..1, or clipped to 0..255 when it
    exceeds 1.

    Args:
        source: A path, the content of a file, or an image.
        name: Its name in an error; by default the path.
        at_least: Side from which a smaller image will do: a larger JPEG is decoded at a half, a quarter or an eighth of
            its size, with no side below this, which is much faster.

    Returns:
        A new RGB image without an open file.

    Raises:
        UnreadableImage: Missing, empty, truncated, not an image, no ordinary file, or of so many pixels that decoding
            takes more than `decode_memory.MAX_DECODE_BYTES`. JPEGs of more are decoded at a smaller size.
    """
    label = name or (str(source) if isinstance(source, str | Path) else "(image in memory)")
    content = source if isinstance(source, bytes) else b""
    try:
        if isinstance(source, Image.Image):
            return _to_rgb(source.copy())
        content = read_file(source) if isinstance(source, str | Path) else source
        with big_images_allowed(), open_image(content) as image:
            return _load(image, content, at_least)
    except Exception as error:  # Pillow's plugins raise nearly everything on broken files
        raise UnreadableImage(label, explain(error, content)) from error


def open_image(content: bytes) -> Image.Image:
    """Read the header only, within `big_images_allowed`; `fit_in_memory` then says whether it may be decoded.

    Raises:
        ValueError: There is no content. Besides, whatever Pillow raises.
    """
    if not content:
        raise ValueError("the file is empty (0 bytes)")
    return Image.open(BytesIO(content), formats=_formats())


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)  # AVIF, say, is not in every build


def _load(image: Image.Image, content: bytes, at_least: int | None = None) -> Image.Image:
    size = image.size
    big = fit_in_memory(image, content) > _BIG
    if at_least and image.size == size:  # not made smaller already
        image.draft(None, (at_least, at_least))
    with _one_big_image if big else nullcontext():
        image.load()
        return _to_rgb(image)


class _BombLimit:
    """Pillow's global limit on pixels, lifted while any thread is inside (transferkit has its own limit)."""

    lock = threading.Lock()
    inside = 0
    saved: int | None = None


@contextmanager
def big_images_allowed() -> Iterator[None]:
    """Lift Pillow's limit on the number of pixels; safe to enter from many threads at once."""
    with _BombLimit.lock:
        if _BombLimit.inside == 0:
            _BombLimit.saved, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        _BombLimit.inside += 1
    try:
        yield
    finally:
        with _BombLimit.lock:
            _BombLimit.inside -= 1
            if _BombLimit.inside == 0:
                Image.MAX_IMAGE_PIXELS = _BombLimit.saved


def explain(error: Exception, content: bytes = b"") -> str:
    """Return in words why an image cannot be read."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, PermissionError | IsADirectoryError):
        return (error.strerror or "cannot be opened").lower()
    if isinstance(error, UnidentifiedImageError):
        known = "not an image in a format that is read here"
        return f"{known}: HEIC or the like, convert it" if content[4:8] == b"ftyp" else known
    if isinstance(error, MemoryError):
        return "too large for the memory of this machine"
    text = str(error) or type(error).__name__
    return text if "truncated" not in text.lower() else f"truncated ({text})"


def _to_rgb(image: Image.Image) -> Image.Image:
    image = _upright(image)
    if image.mode == "F":
        return Image.fromarray(_float_to_8bit(np.asarray(image))).convert("RGB")
    if image.mode == "I" or image.mode.startswith("I;16"):
        # Pillow's own conversion clips at 255 instead of scaling
        wide = np.clip(np.asarray(image), 0, 65535).astype(np.uint32)
        wide += 128
        wide //= 257
        return Image.fromarray(wide.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        white = Image.new("RGBA", colours.size, "white")
        return Image.alpha_composite(white, colours).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _upright(image: Image.Image) -> Image.Image:
    """The image, turned as its EXIF orientation says."""
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except Exception:  # the pixels may be intact despite broken EXIF data
        log.debug("broken EXIF data", exc_info=True)
    return image


def _float_to_8bit(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    values = np.nan_to_num(values, nan=0.0, posinf=np.inf, neginf=-np.inf)
    if values.size and values.min() >= 0 and values.max() <= 1:
        values = values * 255
    scaled: NDArray[np.uint8] = np.rint(np.clip(values, 0, 255)).astype(np.uint8)
    return scaled
