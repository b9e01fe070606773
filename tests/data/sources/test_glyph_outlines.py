import unicodedata

import numpy as np
import pytest

from transferkit.data.sources import glyph_outlines
from transferkit.data.sources.glyph_outlines import BOX, CANVAS, FONTS, Outlines, is_letter, letter_name, load_outlines
from transferkit.errors import TransferkitError


@pytest.fixture(scope="module")
def outlines() -> Outlines:
    return load_outlines(140)


def test_no_digit_in_any_script_is_a_letter() -> None:
    assert not any(is_letter(chr(code)) for code in range(0x30000) if unicodedata.numeric(chr(code), None) is not None)
    assert not any(map(is_letter, "0123456789²₅٣५Ⅳ①𝟘"))


def test_letters_drawn_after_digits_are_left_out() -> None:
    assert not any(is_letter(unicodedata.lookup(f"LATIN CAPITAL LETTER TONE {n}")) for n in ("TWO", "FIVE", "SIX"))


def test_the_classes_are_letters_of_several_scripts(outlines: Outlines) -> None:
    assert len(set(outlines.letters)) == len(outlines.letters) == 140
    assert all(map(is_letter, outlines.letters))
    assert {letter_name(letter).split()[0] for letter in outlines.letters} >= {"latin", "greek"}
    assert letter_name("α") == "greek small letter alpha"


def test_distances_are_those_of_the_outline(outlines: Outlines) -> None:
    bar = outlines.distances[int(outlines.counts[: outlines.letters.index("l")].sum())].astype(float)
    inside = bar > 0
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    assert abs(len(rows) - BOX) <= 1
    assert abs(rows.mean() - (CANVAS - 1) / 2) <= 1
    assert abs(bar.max() - len(columns) / 2) <= 1  # in the middle of a bar, half its width from the edge
    assert abs(bar[0, CANVAS // 2] + (CANVAS - BOX) / 2) <= 1  # at the border of the canvas, the margin


def test_a_letter_has_several_styles(outlines: Outlines) -> None:
    assert len(outlines.distances) == outlines.counts.sum()
    assert outlines.counts.min() >= 2
    assert outlines.counts[0] > len(FONTS) / 2


def test_letters_that_look_alike_are_one_class(outlines: Outlines) -> None:
    assert "Α" not in outlines.letters  # Greek capital alpha, drawn as Latin A
    assert "A" in outlines.letters


def test_more_letters_than_the_fonts_have(monkeypatch: pytest.MonkeyPatch) -> None:
    few = {letter: glyph_outlines._sources()[letter] for letter in "AB"}
    monkeypatch.setattr(glyph_outlines, "_sources", lambda: few)
    with pytest.raises(TransferkitError, match=r"dataset\.classes=3: the fonts have 2 different letters at most"):
        load_outlines.__wrapped__(3)
