"""Finding unreadable image files before training, in one quick pass that also hashes their content."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b

from PIL import Image

from transferkit.data.decode_memory import fit_in_memory
from transferkit.data.image_files import read_file
from transferkit.data.images import UnreadableImage, big_images_allowed, decode, explain, open_image


@dataclass(frozen=True)
class Checked:
    """The result of checking one file.

    Attributes:
        id: The identity of its content; empty when the file could not be read at all.
        reason: Why it is unreadable; None if it is readable.
    """

    id: str
    reason: str | None


def content_id(content: bytes) -> str:
    """Identity of a content: 32 hex digits, as printed by ``b2sum -l 128``."""
    return blake2b(content, digest_size=16).hexdigest()


def check_file(path: str, thorough: bool = False) -> Checked:
    """Read a file once and see whether it can be decoded; see `check_content`."""
    try:
        content = read_file(path)
    except (OSError, ValueError) as error:
        return Checked("", explain(error))
    return Checked(content_id(content), check_content(content, thorough))


def check_content(content: bytes, thorough: bool = False) -> str | None:
    """Return why the content of an image file cannot be decoded; None if it can.

    The header and the end show whether the file is complete; it is decoded only if that is in doubt. Damage in the
    middle may remain undetected until the image is used, unless the check is `thorough`, which always decodes.
    """
    try:
        with big_images_allowed(), open_image(content) as image:
            fit_in_memory(image, content)
            whole = _WHOLE.get(image.format or "")
            if whole is not None and whole(image, content) and not thorough:
                return None
    except Exception as error:  # Pillow's plugins raise nearly everything on broken files
        return explain(error, content)
    try:
        decode(content)
    except UnreadableImage as error:
        return error.reason
    return None


def _jpeg_is_whole(image: Image.Image, content: bytes) -> bool:
    return content.rstrip(b"\0").endswith(b"\xff\xd9")  # end of image; some cameras pad with zeros


def _png_is_whole(image: Image.Image, content: bytes) -> bool:
    try:
        image.verify()  # verifies the checksums of all chunks
    except Exception:  # SyntaxError, OSError, EOFError, struct.error, ...
        return False
    return True


def _gif_is_whole(image: Image.Image, content: bytes) -> bool:
    return content.endswith(b"\x3b")


def _webp_is_whole(image: Image.Image, content: bytes) -> bool:
    return len(content) >= 8 + int.from_bytes(content[4:8], "little")  # RIFF: the length that follows


_WHOLE: dict[str, Callable[[Image.Image, bytes], bool]] = {
    "JPEG": _jpeg_is_whole,
    "MPO": _jpeg_is_whole,
    "PNG": _png_is_whole,
    "GIF": _gif_is_whole,
    "WEBP": _webp_is_whole,
}
