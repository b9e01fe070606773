"""A folder of made-up photographs with planted problems."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

SIZE = (120, 90)


def photo(rng: np.random.Generator, hue: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """A smooth random picture that no other resembles; `hue` is the channel that is bright."""
    tiles = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    tiles[..., hue] = 255 - tiles[..., hue] // 4
    return Image.fromarray(tiles).resize(size, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(1))


def write_photos(root: Path, count: int = 14, seed: int = 0) -> dict[str, Path]:
    """Two classes of `count` images below train/ and test/; return the planted files by what they are."""
    rng = np.random.default_rng(seed)
    for split, number in (("train", count), ("test", 4)):
        for hue, name in enumerate(("red", "<b>green & co")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(number):
                photo(rng, hue).save(folder / f"{i:02}.png")
    first, green = root / "train/red/00.png", root / "train/<b>green & co"
    planted = {
        "same bytes": root / "test/red/same.png",
        "as JPEG": root / "train/red/copy1.jpg",
        "half": root / "train/red/copy2.png",
        "brighter": green / "copy3.jpg",
        "flipped": root / "train/red/flipped.png",
        "tiny": root / "train/red/tiny.png",
        "elongated": green / "wide.png",
        "constant": green / "plain.png",
        "gray": root / "train/red/gray.png",
    }
    planted["same bytes"].write_bytes(first.read_bytes())
    with Image.open(root / "train/red/01.png") as image:
        image.save(planted["as JPEG"], quality=80)
    with Image.open(root / "train/red/02.png") as image:
        image.resize((SIZE[0] // 2, SIZE[1] // 2)).save(planted["half"])
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(planted["flipped"])
    with Image.open(root / "train/red/03.png") as image:
        image.point(lambda value: min(255, int(0.8 * value + 20))).save(planted["brighter"], quality=90)
    photo(rng, 0, (20, 15)).save(planted["tiny"])
    photo(rng, 1, (400, 60)).save(planted["elongated"])
    Image.new("RGB", SIZE, (90, 200, 90)).save(planted["constant"])
    photo(rng, 0).convert("L").save(planted["gray"])
    return planted
