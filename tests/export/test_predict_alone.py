"""The script beside an ONNX file prepares images as the model does."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from transferkit.data.images import decode
from transferkit.data.preprocess import Preprocessing
from transferkit.export import predict_alone
from transferkit.export.agreement import photographs

HOWS = {
    "usual": Preprocessing(),
    "bicubic, small": Preprocessing((96, 96), (110, 110), "bicubic", (0.5,) * 3, (0.5,) * 3),
    "no margin": Preprocessing((64, 64), (64, 64), "nearest-exact"),
    "squash": Preprocessing((64, 48), (70, 50), "lanczos", crop_mode="squash"),
    "not square": Preprocessing((40, 80), (48, 90), "bilinear"),
}


@pytest.mark.parametrize("how", HOWS.values(), ids=HOWS)
@pytest.mark.parametrize("size", [(300, 200), (91, 333), (17, 23), (64, 64)])
def test_inputs_are_those_of_the_model(how: Preprocessing, size: tuple[int, int]) -> None:
    image = photographs(1)[0].resize(size)
    found = predict_alone.preprocess(image, how.to_dict())
    assert found.dtype == np.float32
    torch.testing.assert_close(torch.from_numpy(found), how(image), atol=1e-5, rtol=0)


def test_files_are_decoded_as_the_model_does(tmp_path: Path) -> None:
    photograph = photographs(1)[0].resize((60, 40))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    photograph.save(tmp_path / "turned.jpg", exif=exif)
    photograph.convert("L").save(tmp_path / "gray.png")
    photograph.convert("P").save(tmp_path / "palette.gif")
    clear = photograph.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    clear.save(tmp_path / "clear.png")
    wide = np.linspace(0, 65535, 2400).reshape(40, 60).astype(np.uint16)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    for path in sorted(tmp_path.iterdir()):
        found, expected = predict_alone.decode(str(path)), decode(path)
        np.testing.assert_array_equal(np.asarray(found), np.asarray(expected), err_msg=path.name)
