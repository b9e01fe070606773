"""Letters from matplotlib's bundled fonts, and their outlines as signed distances.

The fonts (DejaVu, STIX, Computer Modern) come with matplotlib, so that every machine has the same ones. Digits are
excluded, so that a network pretrained on these letters has not seen the classes of `dataset=digits`.
"""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from transferkit.errors import TransferkitError

CANVAS = 48
"""Side of an outline, in pixels."""
BOX = 32
"""Longer side of the letter in the middle of the canvas, in pixels."""

FONTS = (
    *(f"DejaVuSans{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSerif{style}" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{style}" for style in ("", "Bol", "Italic", "BolIta")),
    *("cmr10", "cmb10", "cmss10", "cmti10", "cmtt10"),
)

_OVERSAMPLED = 2  # distances are measured at twice the size, which places an edge within a quarter of a pixel
_MOST_STYLES = 16  # of one letter, so that Latin, drawn in mathematical alphabets as well, does not crowd out the rest
_SAME = 0.12  # letters that differ in less than this part of their ink are one class (Latin A, Greek Alpha)

# In names of excluded letters: derived from digits, two letters in one, differing by a small mark only,
# or meant to be joined.
_LEFT_OUT = ("TONE", "LIGATURE", "DIGRAPH", "WITH", "MODIFIER", "SUPERSCRIPT", "SUBSCRIPT", "ARABIC")


@dataclass(frozen=True)
class Outlines:
    """Every style of every letter.

    Attributes:
        letters: One character per class, K.
        distances: (R, CANVAS, CANVAS) float16, pixels to the nearest edge, positive inside; ordered by class.
        counts: (K,) styles of each letter; they sum to R.
    """

    letters: list[str]
    distances: NDArray[np.float16]
    counts: NDArray[np.int64]


def is_letter(character: str) -> bool:
    """Whether a character is a letter that may become a class: never a digit, whatever the script or form."""
    name = unicodedata.name(character, "")
    return (
        unicodedata.category(character) in ("Lu", "Ll", "Lo")
        and unicodedata.numeric(character, None) is None
        and not any(word in name for word in _LEFT_OUT)
    )


def letter_name(letter: str) -> str:
    """The class name: the letter's name in Unicode ("greek small letter alpha")."""
    return unicodedata.name(letter).lower()


@lru_cache(maxsize=4)
def load_outlines(classes: int) -> Outlines:
    """Draw the first `classes` letters in every font that has them.

    Letters that most fonts have come first, then in Unicode's order. Of letters that look alike when scaled to
    the same box the first one is used.

    Raises:
        TransferkitError: The fonts have fewer letters.
    """
    sources = _sources()
    ranking = sorted(sources, key=lambda letter: (-min(len(sources[letter]), 12), letter))
    letters: list[str] = []
    first: list[NDArray[np.float32]] = []
    distances: list[NDArray[np.float16]] = []
    counts: list[int] = []
    for letter in ranking:
        if len(letters) == classes:
            break
        drawn = list(_drawings(sources[letter]))
        if not drawn or _seen(drawn[0], first):
            continue
        letters.append(letter)
        first.append(drawn[0])
        distances += map(_distances, drawn)
        counts.append(len(drawn))
    if len(letters) < classes:
        raise TransferkitError(f"dataset.classes={classes}: the fonts have {len(letters)} different letters at most.")
    return Outlines(letters, np.stack(distances), np.array(counts))


@lru_cache(maxsize=1)
def _sources() -> dict[str, list[tuple[Path, str]]]:
    """Letter to (font file, character); a mathematical script A is a style of A."""
    import matplotlib
    from matplotlib.ft2font import FT2Font

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    sources: dict[str, list[tuple[Path, str]]] = {}
    for font in FONTS:
        path = folder / f"{font}.ttf"
        for character in map(chr, sorted(FT2Font(str(path)).get_charmap())):
            # Beyond ASCII, Computer Modern's TeX encoding does not mean what Unicode says.
            if font.startswith("cm") and not character.isascii():
                continue
            letter = unicodedata.normalize("NFKD", character)
            if len(letter) == 1 and is_letter(letter) and is_letter(character):
                sources.setdefault(letter, []).append((path, character))
    return sources


def _drawings(sources: list[tuple[Path, str]]) -> Iterator[NDArray[np.float32]]:
    """The different drawings of a letter, (side, side) in [0, 1], the longer side of each filling the box."""
    seen: set[bytes] = set()
    for path, character in sources:
        pixels = _draw(path, character)
        if pixels is not None and pixels.tobytes() not in seen:
            seen.add(pixels.tobytes())
            yield pixels.astype(np.float32) / np.float32(255)
        if len(seen) == _MOST_STYLES:
            return


def _draw(path: Path, character: str) -> NDArray[np.uint8] | None:
    # The basic layout is in every Pillow; Raqm, where it is installed, would place some letters otherwise.
    font = ImageFont.truetype(str(path), 4 * BOX, layout_engine=ImageFont.Layout.BASIC)
    left, top, right, bottom = (round(side) for side in font.getbbox(character))
    image = Image.new("L", (max(right - left, 1), max(bottom - top, 1)))
    ImageDraw.Draw(image).text((-left, -top), character, font=font, fill=255)
    ink = image.getbbox()
    if ink is None:
        return None
    image = image.crop(ink)
    scale = _OVERSAMPLED * BOX / max(image.size)
    image = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
    side = _OVERSAMPLED * CANVAS
    canvas = Image.new("L", (side, side))
    canvas.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return np.asarray(canvas)


def _seen(drawing: NDArray[np.float32], others: list[NDArray[np.float32]]) -> bool:
    ink = max(float(drawing.sum()), 1.0)
    return any(float(np.abs(drawing - other).sum()) < _SAME * ink for other in others)


def _distances(drawing: NDArray[np.float32]) -> NDArray[np.float16]:
    from scipy.ndimage import distance_transform_edt

    inside = drawing > 0.5
    fine = (distance_transform_edt(inside) - distance_transform_edt(~inside)) / _OVERSAMPLED
    blocks = fine.reshape(CANVAS, _OVERSAMPLED, CANVAS, _OVERSAMPLED)
    coarse: NDArray[np.float16] = blocks.mean(axis=(1, 3)).astype(np.float16)
    return coarse
