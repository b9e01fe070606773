"""The quick check agrees with decoding everything."""

import hashlib

import numpy as np
import pytest
from PIL import Image

from transferkit.data.check_files import check_content, check_file, content_id
from transferkit.data.images import UnreadableImage, decode

PIXELS = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
FORMATS = ["jpg", "png", "gif", "webp", "bmp", "tif", "ppm", "ico", "jp2"]


@pytest.fixture(scope="module")
def contents(tmp_path_factory):
    folder = tmp_path_factory.mktemp("formats")
    found = {}
    for extension in FORMATS:
        path = folder / f"a.{extension}"
        Image.fromarray(PIXELS).save(path)
        found[extension] = path.read_bytes()
    return found


def decodes(content: bytes) -> bool:
    try:
        decode(content)
    except UnreadableImage:
        return False
    return True


@pytest.mark.parametrize("extension", FORMATS)
def test_whole_files_pass(contents, extension):
    assert check_content(contents[extension]) is None


@pytest.mark.parametrize("extension", FORMATS)
@pytest.mark.parametrize("part", [0.02, 0.3, 0.7, 0.97])
def test_truncated_files_are_judged_as_decoding_judges_them(contents, extension, part):
    content = contents[extension][: int(part * len(contents[extension]))]
    assert (check_content(content) is None) == decodes(content)


@pytest.mark.parametrize("extension", ["jpg", "png", "bmp", "tif", "ppm"])
def test_half_a_file_is_found(contents, extension):
    assert check_content(contents[extension][: len(contents[extension]) // 2])


@pytest.mark.parametrize("ending", [b"\0" * 64, b"maker's note", b"\xff\xd9 and more"])
def test_what_cameras_write_behind_the_end_is_fine(contents, ending):
    assert check_content(contents["jpg"] + ending) is None


def test_reasons():
    assert "empty" in (check_content(b"") or "")
    assert "not an image" in (check_content(b"some text") or "")
    assert "GiB" in (check_content(b"P5 40000 40000 255\n") or "")


def test_the_id_is_that_of_b2sum(tmp_path):
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    # printf abc | b2sum -l 128
    assert check_file(str(path)).id == content_id(b"abc") == "cf4ab791c62b8d2b2109c90275287816"
    assert content_id(b"abc") == hashlib.blake2b(b"abc", digest_size=16).hexdigest()


def test_missing_file_and_folder(tmp_path):
    assert check_file(str(tmp_path / "none.jpg")).reason == "no such file"
    assert check_file(str(tmp_path)).reason == "is a directory"


def damaged_in_the_middle(content: bytes) -> bytes:
    """A JPEG whose Huffman table makes no sense, between a header and an ending that are whole."""
    table = content.index(b"\xff\xc4")
    return content[: table + 5] + b"\xff" * 16 + content[table + 21 :]


def test_damage_in_the_middle_is_found_by_the_thorough_check(contents):
    content = damaged_in_the_middle(contents["jpg"])
    assert not decodes(content)
    assert check_content(content) is None
    assert "broken data stream" in (check_content(content, thorough=True) or "")


@pytest.mark.parametrize("extension", FORMATS)
def test_whole_files_pass_the_thorough_check(contents, extension):
    assert check_content(contents[extension], thorough=True) is None
