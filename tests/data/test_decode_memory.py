"""Files that ask for more memory than they should get, and how much decoding really takes."""

import os
import struct
import subprocess
import sys
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from transferkit.data import decode_memory
from transferkit.data.check_files import check_content
from transferkit.data.decode_memory import bytes_needed
from transferkit.data.images import UnreadableImage, decode

SIDE = 1500

# Not `ru_maxrss`, in which the parent's memory counts.
PEAK = """
import re
from pathlib import Path

def peak():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

"""
needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def claiming_png(width: int, height: int, colour_type: int = 3) -> bytes:
    """A whole PNG of the claimed size, a palette with transparency, whose rows compress a thousandfold."""
    rows = zlib.compressobj(1)
    pixels = b"".join(rows.compress(bytes(1 + width)) for _ in range(min(height, 400))) + rows.flush()
    chunks = [png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0))]
    chunks += [png_chunk(b"PLTE", bytes(6)), png_chunk(b"tRNS", b"\0"), png_chunk(b"IDAT", pixels)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + png_chunk(b"IEND", b"")


def claiming_gif(width: int, height: int) -> bytes:
    """An animation of small frames on a huge canvas."""
    file = BytesIO()
    frames = [Image.new("P", (4, 4), colour) for colour in (1, 2, 3)]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    content = file.getvalue()
    return content[:6] + struct.pack("<HH", width, height) + content[10:]


def claiming_ico(width: int, height: int) -> bytes:
    """An icon of 16 x 16, says the directory; the PNG in it is another."""
    inside = claiming_png(width, height)
    return struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inside), 22) + inside


def claiming_tiff_tile(length: int) -> bytes:
    """A picture of 16 x 16 in one compressed tile of `length` x `length`."""
    file = BytesIO()
    Image.new("RGBA", (16, 16)).save(file, "TIFF", compression="tiff_lzw")
    content = bytearray(file.getvalue())
    directory = struct.unpack("<I", content[4:8])[0]
    count = struct.unpack("<H", content[directory : directory + 2])[0]
    for i in range(count):
        at = directory + 2 + 12 * i
        tag = struct.unpack("<H", content[at : at + 2])[0]
        new = {278: (322, length), 273: (324, None), 279: (325, None)}.get(tag)  # strips become tiles
        if new:
            content[at : at + 2] = struct.pack("<H", new[0])
            if new[1]:
                content[at + 2 : at + 12] = struct.pack("<HII", 4, 1, new[1])
    # The place of a tag that is not needed for the tile's length.
    for i in range(count):
        at = directory + 2 + 12 * i
        if struct.unpack("<H", content[at : at + 2])[0] == 284:  # planar configuration
            content[at : at + 12] = struct.pack("<HHII", 323, 4, 1, length)
    return bytes(content)


CLAIMS = {
    "palette PNG": claiming_png(30000, 30000),
    "animated GIF": claiming_gif(60000, 60000),
    "icon": claiming_ico(30000, 30000),
    "tile": claiming_tiff_tile(40000),
    "gray": b"P5 40000 40000 255\n",
    "16 bits": b"P5 20000 20000 65535\n",
}


@needs_proc
@pytest.mark.parametrize("name", CLAIMS)
def test_claims_are_refused_before_decoding(name, tmp_path):
    path = tmp_path / "claim.png"
    path.write_bytes(CLAIMS[name])
    assert path.stat().st_size < 200_000
    # In a process that may have 2 GiB at all: decoding would take more.
    code = (
        PEAK + "import resource, sys\n"
        "from transferkit.data.check_files import check_file\n"
        "from transferkit.data.images import UnreadableImage, decode\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2 * 1024**3, 2 * 1024**3))\n"
        "print(check_file(sys.argv[1]).reason)\n"
        "try:\n    decode(sys.argv[1])\n"
        "except UnreadableImage as error:\n    print(error.reason)\n"
        "print(peak())\n"
    )
    *reasons, peak = run_python(code, path)
    assert len(reasons) == 2
    assert all("GiB, more than the limit of 4 GiB an image" in reason for reason in reasons), reasons
    assert int(peak) < 300e6  # Python, numpy and Pillow themselves take 100 MB


def run_python(code: str, *arguments: object) -> list[str]:
    threads = {"OPENBLAS_NUM_THREADS": "1"}  # address space for each
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, env=os.environ | threads, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("RGB", "PNG", {"exif": True}),
    ("P", "PNG", {"transparency": 0}),
    ("RGBA", "PNG", {}),
    ("LA", "PNG", {}),
    ("I;16", "PNG", {}),
    ("1", "PNG", {}),
    ("I", "TIFF", {}),
    ("F", "TIFF", {}),
    ("RGBA", "TIFF", {"compression": "tiff_deflate"}),
    ("CMYK", "JPEG", {}),
    ("RGB", "JPEG", {"progressive": True}),
    ("RGB", "WEBP", {}),
    ("RGB", "AVIF", {"speed": 10}),
    ("RGBA", "JPEG2000", {}),
    ("P", "GIF", {}),
]


def picture(mode: str) -> Image.Image:
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (SIDE // 20, SIDE // 20, 3), dtype=np.uint8))
    image = small.resize((SIDE, SIDE), Image.Resampling.NEAREST)
    wide = {"I;16": np.uint16, "I": np.int32, "F": np.float32}
    return Image.fromarray(np.asarray(image.convert("L")).astype(wide[mode])) if mode in wide else image.convert(mode)


@needs_proc
@pytest.mark.parametrize(("mode", "kind", "options"), CASES, ids=lambda case: str(case))
def test_decoding_takes_no_more_than_was_said(mode, kind, options, tmp_path):
    if kind not in Image.registered_extensions().values():
        pytest.skip(f"this Pillow writes no {kind}")
    if options.get("exif"):
        exif = Image.Exif()
        exif[274] = 6
        options = {"exif": exif}
    path = tmp_path / "image"
    picture(mode).save(path, kind, **options)
    code = (
        PEAK + "import sys\n"
        "from io import BytesIO\n"
        "from PIL import Image\n"
        "from transferkit.data.decode_memory import bytes_needed\n"
        "from transferkit.data.images import decode\n"
        "content = open(sys.argv[1], 'rb').read()\n"
        "need = bytes_needed(Image.open(BytesIO(content)), content)\n"
        "small = BytesIO()\n"
        "Image.new('RGB', (8, 8)).save(small, 'PNG')\n"
        "decode(small.getvalue())\n"
        "before = peak()\n"
        "decode(content)\n"
        "print(need, peak() - before)\n"
    )
    need, taken = map(int, run_python(code, path)[0].split())
    assert taken <= need + 6e6  # the decoder's own code and tables
    assert need <= 28 * SIDE**2


def test_jpegs_that_are_too_large_are_decoded_smaller(monkeypatch):
    file = BytesIO()
    picture("RGB").save(file, "JPEG")
    whole = decode(file.getvalue())
    monkeypatch.setattr(decode_memory, "MAX_DECODE_BYTES", 8 * SIDE**2 // 5)
    assert check_content(file.getvalue()) is None
    smaller = decode(file.getvalue())
    assert smaller.size == (-(-SIDE // 4), -(-SIDE // 4))
    again = whole.resize(smaller.size, Image.Resampling.BOX)
    assert np.abs(np.asarray(smaller).astype(int) - np.asarray(again)).mean() < 8  # of another picture: 80
    monkeypatch.setattr(decode_memory, "MAX_DECODE_BYTES", 8 * SIDE**2 // 100)
    with pytest.raises(UnreadableImage, match=r"1500 x 1500 pixels would take"):
        decode(file.getvalue())


def test_progressive_jpegs_keep_their_coefficients_whatever_the_size(monkeypatch):
    file = BytesIO()
    picture("RGB").save(file, "JPEG", progressive=True)
    assert bytes_needed(Image.open(file), b"") == 10 * SIDE**2
    monkeypatch.setattr(decode_memory, "MAX_DECODE_BYTES", 6 * SIDE**2)
    with pytest.raises(UnreadableImage, match="would take"):
        decode(file.getvalue())


@pytest.mark.parametrize("kind", ["zTXt", "iTXt"])
def test_texts_that_unpack_to_much_are_refused(kind):
    info = PngImagePlugin.PngInfo()
    text = "x" * 50_000_000
    if kind == "zTXt":
        info.add_text("k", text, zip=True)
    else:
        info.add_itxt("k", text, zip=True)
    file = BytesIO()
    Image.new("RGB", (4, 4)).save(file, "PNG", pnginfo=info)
    assert len(file.getvalue()) < 100_000
    with pytest.raises(UnreadableImage, match=r"(?i)decompressed data too large|too large"):
        decode(file.getvalue())


def test_other_formats_than_those_announced_are_not_opened(tmp_path):
    """Pillow would start Ghostscript for an EPS, whatever the file is called."""
    path = Path(tmp_path, "a.jpg")
    Image.new("RGB", (4, 4)).save(path, "EPS")
    with pytest.raises(UnreadableImage, match="not an image in a format that is read here"):
        decode(path)


def test_photographs_of_telephones_are_told_by_their_content():
    with pytest.raises(UnreadableImage, match="HEIC or the like, convert it"):
        decode(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
