"""The memory that decoding an image takes, from its header: a file of 1 MB can require 15 GB."""

import struct

from PIL import Image

MAX_DECODE_BYTES = 4 * 1024**3
"""Limit for one image, in each process that decodes. An RGB image of half a gigapixel takes as much."""

_DECODED = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}
"""Bytes per pixel of a Pillow mode; 4 for all others, including RGB."""

_WORK = {
    "JPEG2000": 24,  # OpenJPEG's 32 bits a channel, and Pillow's copy
    "WEBP": 16,  # canvas, frame and two copies
    "AVIF": 16,  # planes, RGBA and copies
    "TIFF": 8,  # strips or tiles
}
"""Maximum additional bytes per pixel of a decoder; measured (tests/data/test_decode_memory.py)."""

_DRAFTS = ("JPEG", "MPO")
"""Formats that can be decoded at a half, a quarter or an eighth of their size."""


def fit_in_memory(image: Image.Image, content: bytes) -> int:
    """Check that an opened, but not loaded, image is within the memory limit; return the bytes that it takes.

    A JPEG above `MAX_DECODE_BYTES` is set to be decoded at a half, a quarter or an eighth of its size.

    Raises:
        ValueError: It is above the limit.
    """
    width, height = image.size
    need = bytes_needed(image, content)
    if need <= MAX_DECODE_BYTES:
        return need
    for scale in (2, 4, 8) if image.format in _DRAFTS else ():
        smaller = bytes_needed(image, content, scale)
        if smaller <= MAX_DECODE_BYTES:
            image.draft(None, (width // scale, height // scale))
            return smaller
    raise ValueError(
        f"decoding its {width} x {height} pixels would take {need / 1024**3:.1f} GiB, more than the limit of "
        f"{MAX_DECODE_BYTES / 1024**3:g} GiB an image; make it smaller"
    )


def bytes_needed(image: Image.Image, content: bytes, scale: int = 1) -> int:
    """Peak memory of decoding an opened image and converting it to upright RGB.

    Args:
        image: Opened, not loaded.
        content: Its file.
        scale: Divisor of its sides in decoding.
    """
    width, height = image.size
    pixels = -(-width // scale) * -(-height // scale)
    decoder = _WORK.get(image.format or "", 0) * pixels
    if image.format in _DRAFTS and (image.info.get("progressive") or image.info.get("progression")):
        decoder = 2 * len(image.getbands()) * width * height  # 16-bit coefficients of the whole image
    elif image.format == "TIFF":
        pixels = max(pixels, _tile_pixels(image))
    elif image.format == "ICO":
        pixels = max(pixels, _largest_icon(content))
    decoded = _DECODED.get(image.mode, 4) * pixels
    return decoded + max(decoder, _conversion(image) * pixels)


def _conversion(image: Image.Image) -> int:
    """Peak bytes per pixel that `images.decode` takes besides the decoded image."""
    if image.mode == "F":
        return 24  # the array, its copy without NaN, scaled, clipped, rounded; then 8 bits and RGB
    if image.mode.startswith("I"):
        return 16  # the array, clipped, in 32 bits; then 8 bits and RGB
    if image.format == "ICO" or image.has_transparency_data:
        return 16  # RGBA, white, both together, RGB
    return 4  # RGB; or the copy that is turned upright, or cropped


def _tile_pixels(image: Image.Image) -> int:
    """Pixels of one tile of a TIFF, which may be larger than the image."""
    tags = getattr(image, "tag_v2", {})
    width, length = tags.get(322, 0), tags.get(323, 0)
    return width * length if isinstance(width, int) and isinstance(length, int) else 0


def _largest_icon(content: bytes) -> int:
    """Pixels of the largest picture in an ICO file by its own header, since the directory can be wrong."""
    most = 0
    for entry in range(int.from_bytes(content[4:6], "little")):
        start = int.from_bytes(content[18 + 16 * entry : 22 + 16 * entry], "little")
        head = content[start : start + 24]
        if len(head) == 24:
            png = head.startswith(b"\x89PNG")
            width, height = struct.unpack(">II", head[16:24]) if png else struct.unpack("<ii", head[4:12])
            most = max(most, abs(width * height))
    return most
