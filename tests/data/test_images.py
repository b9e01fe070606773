"""Every kind of image that people have, as 8-bit RGB."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from transferkit.data.images import UnreadableImage, decode

Source = str | Path | bytes | Image.Image

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (12, 10, 3), dtype=np.uint8)
GRAY = RNG.integers(0, 256, (12, 10), dtype=np.uint8)
WIDE = RNG.integers(0, 65536, (12, 10), dtype=np.uint16)


def pixels(source: Source) -> NDArray[np.uint8]:
    image = decode(source)
    assert image.mode == "RGB"
    return np.asarray(image)


def gray_rgb(gray: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(gray[..., None], 3, axis=2)


def saved(tmp_path: Path, image: Image.Image, name: str, **options: Any) -> Path:
    path = tmp_path / name
    image.save(path, **options)
    return path


@pytest.mark.parametrize("name", ["a.png", "A.PNG", "größe 画像 🐜.png", "a.bmp", "a.tiff", "a.ppm"])
def test_rgb_is_unchanged_whatever_the_name(tmp_path, name):
    assert np.array_equal(pixels(saved(tmp_path, Image.fromarray(RGB), name)), RGB)


def test_path_bytes_and_image_give_the_same(tmp_path):
    path = saved(tmp_path, Image.fromarray(RGB), "a.png")
    for source in (path, str(path), path.read_bytes(), Image.open(path)):
        assert np.array_equal(pixels(source), RGB)


def test_gray_one_bit_and_palette(tmp_path):
    assert np.array_equal(pixels(saved(tmp_path, Image.fromarray(GRAY), "l.png")), gray_rgb(GRAY))
    bits = GRAY > 127
    assert np.array_equal(pixels(saved(tmp_path, Image.fromarray(bits), "1.png")), gray_rgb(np.uint8(255) * bits))
    palette = Image.fromarray(RGB).quantize(16)
    assert np.array_equal(pixels(saved(tmp_path, palette, "p.png")), np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize(
    ("name", "dtype"), [("a.png", np.uint16), ("a.tif", np.uint16), ("a.tif", ">u2"), ("a.tif", np.int32)]
)
def test_sixteen_bits_are_scaled_not_clipped(tmp_path, name, dtype):
    ramp = np.array([[0, 128, 129, 257, 32768, 65278, 65535]]).astype(dtype)
    path = saved(tmp_path, Image.fromarray(ramp), name)
    assert Image.open(path).mode in ("I;16", "I;16B", "I")
    assert pixels(path)[0, :, 0].tolist() == [0, 0, 1, 1, 128, 254, 255]


def test_sixteen_bits_keep_the_order_of_brightness(tmp_path):
    result = pixels(saved(tmp_path, Image.fromarray(WIDE), "a.png"))[..., 0]
    assert np.abs(result - WIDE / 65535 * 255).max() <= 0.5


def test_sixteen_bit_pgm(tmp_path):
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5 2 1 65535\n" + np.array([32768, 65535], dtype=">u2").tobytes())
    assert pixels(path)[0, :, 0].tolist() == [128, 255]


def test_float_images(tmp_path):
    unit = np.array([[0.0, 0.25, 1.0]], dtype=np.float32)
    assert pixels(saved(tmp_path, Image.fromarray(unit), "unit.tif"))[0, :, 0].tolist() == [0, 64, 255]
    large = np.array([[-5.0, 100.4, 300.0, np.nan]], dtype=np.float32)
    assert pixels(saved(tmp_path, Image.fromarray(large), "large.tif"))[0, :, 0].tolist() == [0, 100, 255, 0]


def test_cmyk_is_not_inverted(tmp_path):
    colours = Image.new("RGB", (32, 32), (200, 60, 20))
    for name in ("a.jpg", "a.tif"):  # Pillow writes JPEG as Adobe does: inverted
        path = saved(tmp_path, colours.convert("CMYK"), name)
        assert Image.open(path).mode == "CMYK"
        assert np.abs(pixels(path).astype(int) - [200, 60, 20]).max() <= 4


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_laid_on_white(tmp_path, mode):
    image = Image.fromarray(GRAY).convert(mode)
    alpha = RNG.integers(0, 256, GRAY.shape, dtype=np.uint8)
    image.putalpha(Image.fromarray(alpha))
    expected = GRAY * (alpha / 255) + 255 * (1 - alpha / 255)
    assert np.abs(pixels(saved(tmp_path, image, "a.png")) - expected[..., None]).max() <= 1


def test_transparent_palette_and_colour_key(tmp_path):
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.putdata([0, 1])
    path = saved(tmp_path, palette, "p.png", transparency=1)
    assert pixels(path).tolist() == [[[255, 0, 0], [255, 255, 255]]]
    path = saved(tmp_path, palette.convert("RGB"), "rgb.png", transparency=(255, 0, 0))
    assert pixels(path).tolist() == [[[255, 255, 255], [0, 255, 0]]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
    turn = {  # what brings the stored pixels upright: TIFF 6.0, tag 274
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: np.swapaxes(a, 0, 1),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(np.swapaxes(a, 0, 1), 2),
        8: lambda a: np.rot90(a),
    }[orientation]
    exif = Image.Exif()
    exif[274] = orientation
    path = saved(tmp_path, Image.fromarray(RGB), "a.png", exif=exif)
    assert np.array_equal(pixels(path), turn(RGB))


def test_exif_orientation_of_sixteen_bits(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    path = saved(tmp_path, Image.fromarray(WIDE), "a.png", exif=exif)
    assert pixels(path).shape == (10, 12, 3)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_exif_does_not_matter(tmp_path):
    path = saved(tmp_path, Image.fromarray(RGB), "a.jpg", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff broken")
    assert pixels(path).shape == RGB.shape


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.tif"])
def test_first_frame_of_an_animation(tmp_path, name):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    options = {"lossless": True} if name.endswith("webp") else {}
    path = saved(tmp_path, frames[0], name, save_all=True, append_images=frames[1:], **options)
    assert getattr(Image.open(path), "n_frames", 1) == 2
    assert pixels(path)[0, 0].tolist() == [255, 0, 0]


def test_one_pixel(tmp_path):
    assert pixels(saved(tmp_path, Image.new("RGB", (1, 1), (1, 2, 3)), "a.png")).tolist() == [[[1, 2, 3]]]


def test_more_pixels_than_pillow_allows_by_default(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    path = saved(tmp_path, Image.fromarray(RGB), "a.png")  # 120 pixels: twice the limit is an error in Pillow
    with pytest.raises(Image.DecompressionBombError):
        Image.open(path)
    with ThreadPoolExecutor(8) as pool:
        assert all(image.size == (10, 12) for image in pool.map(decode, [path] * 200))
    assert Image.MAX_IMAGE_PIXELS == 50


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"this is a text", "not an image"),
        (b"<html>404</html>", "not an image"),
        (b"\xff\xd8\xff", "not an image|truncated"),
        (None, "no such file"),
    ],
)
def test_unreadable_files_name_path_and_reason(tmp_path, content, reason):
    path = tmp_path / "bad.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UnreadableImage, match=reason) as caught:
        decode(path)
    assert caught.value.path == str(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.bmp"])
def test_truncated_files(tmp_path, name):
    path = saved(tmp_path, Image.fromarray(np.tile(RGB, (20, 20, 1))), name)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(UnreadableImage) as caught:
        decode(path)
    assert caught.value.reason


def test_bytes_in_memory_are_named_as_such():
    with pytest.raises(UnreadableImage, match="upload 3: not an image"):
        decode(b"nothing", name="upload 3")


def test_the_error_survives_pickling():
    error = pickle.loads(pickle.dumps(UnreadableImage("a.jpg", "truncated")))
    assert (error.path, error.reason) == ("a.jpg", "truncated")
